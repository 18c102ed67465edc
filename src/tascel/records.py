"""Past exchanges as ids: what a bundle is learned from, in memory and as one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from tascel.errors import BundleError
from tascel.types import Ids

_REBUILD = "The bundle is damaged: copy it again or rebuild it"
#: A model's head may be padded beyond its tokenizer's vocabulary, never to so many times as many.
_PADDED = 2
#: Prompts and outputs of about so many ids share a file.
_IDS_A_FILE = 16_000_000
#: Arrays that are picked out of many at a time.
_BLOCK = 10_000
_ARRAYS = (
    "prompts", "prompt_ends", "outputs", "output_ends", "times", "uses", "own", "tasks", "groups",
    "names",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Ragged(Sequence[Ids]):
    """Many short arrays of ids as one: the i-th ends in `flat` i32[m] where `ends` i64[n] says."""

    flat: Ids
    ends: NDArray[np.int64]

    @staticmethod
    def of(parts: Iterable[Ids]) -> Ragged:
        """The arrays one behind the other."""
        listed = [np.asarray(part, np.int32) for part in parts]
        flat = np.concatenate([np.zeros(0, np.int32), *listed])
        return Ragged(flat, np.cumsum([len(part) for part in listed], dtype=np.int64))

    @overload
    def __getitem__(self, at: int) -> Ids: ...
    @overload
    def __getitem__(self, at: slice) -> Ragged: ...
    def __getitem__(self, at: int | slice) -> Ids | Ragged:
        if isinstance(at, slice):
            return self.some(range(*at.indices(len(self))))
        at = range(len(self))[at]
        return self.flat[self.ends[at - 1] if at else 0 : self.ends[at]]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How long each is: i64[n]."""
        return np.diff(self.ends, prepend=0)

    def some(self, at: Sequence[int] | NDArray[np.int64]) -> Ragged:
        """Those with these numbers, in this order."""
        numbers = np.asarray(at, np.int64)
        if len(numbers) == len(self) and (numbers == np.arange(len(self))).all():
            return self
        lengths = self.lengths[numbers]
        ends = np.cumsum(lengths, dtype=np.int64)
        flat = np.empty(int(lengths.sum()), np.int32)
        done = 0
        for start in range(0, len(numbers), _BLOCK):  # where they lie takes more than they do
            block = slice(start, start + _BLOCK)
            # where each token of the new array lies in the old one
            shift = (self.ends[numbers[block]] - ends[block]).repeat(lengths[block])
            end = done + len(shift)
            flat[done:end] = self.flat[np.arange(done, end) + shift]
            done = end
        return Ragged(flat, ends)

    @staticmethod
    def join(parts: Sequence[Ragged]) -> Ragged:
        """All arrays of all parts."""
        starts = np.cumsum([0, *(len(part.flat) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, starts, strict=False)]
        return Ragged(
            np.concatenate([np.zeros(0, np.int32), *(part.flat for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *ends]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Past exchanges as ids.

    Attributes:
        prompts: i32, as the model reads them.
        outputs: i32, closing id included.
        times: f64[n]: when each was, in seconds since 1970.
        uses: f32[n]: how often it was of use, decayed to its time; 1 when new.
        own: u8[n]: 1 for the model's own answer, 0 for one that was given.
        tasks: what the traces call their task, None if nothing.
        groups: what they call those to be held out together, None if nothing.
    """

    prompts: Ragged
    outputs: Ragged
    times: NDArray[np.float64]
    uses: NDArray[np.float32]
    own: NDArray[np.uint8]
    tasks: Sequence[str | None]
    groups: Sequence[str | None]

    @staticmethod
    def of(
        prompts: Iterable[Ids],
        outputs: Iterable[Ids],
        times: Sequence[float] | NDArray[np.float64] | float,
        *,
        uses: Sequence[float] | NDArray[np.float32] | float = 1.0,
        own: Sequence[int] | NDArray[np.uint8] | int = 0,
        tasks: Sequence[str | None] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> Records:
        """From lists; one number stands for all."""
        asked, said = Ragged.of(prompts), Ragged.of(outputs)
        n = len(said)
        return Records(
            asked, said,
            np.broadcast_to(np.asarray(times, np.float64), n).copy(),
            np.broadcast_to(np.asarray(uses, np.float32), n).copy(),
            np.broadcast_to(np.asarray(own, np.uint8), n).copy(),
            [None] * n if tasks is None else tasks,
            [None] * n if groups is None else groups,
        )  # fmt: skip

    @staticmethod
    def empty() -> Records:
        """None at all."""
        return Records.of([], [], [])

    def __len__(self) -> int:
        return len(self.outputs)

    def some(self, at: Sequence[int] | NDArray[np.int64]) -> Records:
        """Those with these numbers, in this order."""
        numbers = np.asarray(at, np.int64)
        listed: list[int] = numbers.tolist()
        return Records(
            self.prompts.some(numbers), self.outputs.some(numbers),
            self.times[numbers], self.uses[numbers], self.own[numbers],
            [self.tasks[i] for i in listed], [self.groups[i] for i in listed],
        )  # fmt: skip

    @staticmethod
    def join(parts: Sequence[Records]) -> Records:
        """All of all parts, one part behind the other."""
        if len(parts) == 1:
            return parts[0]
        return Records(
            Ragged.join([part.prompts for part in parts]),
            Ragged.join([part.outputs for part in parts]),
            np.concatenate([np.zeros(0, np.float64), *(part.times for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.uses for part in parts)]),
            np.concatenate([np.zeros(0, np.uint8), *(part.own for part in parts)]),
            [task for part in parts for task in part.tasks],
            [group for part in parts for group in part.groups],
        )

    def keys(self) -> NDArray[np.uint64]:
        """What each says, prompt and output, as a hash: u64[n], the same in every process."""
        made = b"".join(
            hashlib.blake2b(
                len(prompt).to_bytes(8, "little") + prompt.tobytes() + output.tobytes(),
                digest_size=8,
            ).digest()
            for prompt, output in zip(self.prompts, self.outputs, strict=True)
        )
        return np.frombuffer(made, "<u8").astype(np.uint64)

    def write(self, path: Path) -> None:
        """One file, compressed. It is not atomic: whoever calls makes it so."""
        kinds: dict[str | None, int] = {None: -1}
        for name in (*self.tasks, *self.groups):
            kinds.setdefault(name, len(kinds) - 1)
        names = json.dumps([name for name in kinds if name is not None], ensure_ascii=False)
        arrays: dict[str, NDArray[Any]] = {
            "prompts": _narrow(self.prompts.flat), "prompt_ends": self.prompts.ends,
            "outputs": _narrow(self.outputs.flat), "output_ends": self.outputs.ends,
            "times": self.times, "uses": self.uses, "own": self.own,
            "tasks": np.array([kinds[task] for task in self.tasks], np.int32),
            "groups": np.array([kinds[group] for group in self.groups], np.int32),
            "names": np.frombuffer(names.encode(), np.uint8),
        }  # fmt: skip
        save: Any = np.savez_compressed
        with path.open("wb") as file:  # by name numpy might give it an ending
            save(file, **arrays)

    @staticmethod
    def read(path: Path, vocab_size: int) -> Records:
        """What `write` wrote.

        Raises:
            BundleError: missing, damaged, or of another vocabulary.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = {name: found[name] for name in _ARRAYS}
        except Exception as reason:  # archives and array headers can be wrong in every way
            raise BundleError(f"{path}: holds no readable records ({reason})", _REBUILD) from None
        try:
            return _checked(arrays, vocab_size)
        except (ValueError, RecursionError) as reason:
            raise BundleError(f"{path}: {reason}", _REBUILD) from None


def write_records(folder: Path, records: Records) -> None:
    """Into a new folder, in files of bounded size: `000.npz`, …"""
    folder.mkdir()
    ends = records.prompts.ends + records.outputs.ends
    files = (ends - 1) // _IDS_A_FILE
    starts = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist()]
    for at, (start, end) in enumerate(zip(starts, [*starts[1:], len(records)], strict=True)):
        records.some(range(start, end)).write(folder / f"{at:03}.npz")


def _narrow(ids: Ids) -> NDArray[Any]:
    """Two bytes an id where they suffice."""
    return ids.astype(np.uint16) if not len(ids) or int(ids.max()) < 1 << 16 else ids


def _checked(arrays: dict[str, NDArray[Any]], vocab_size: int) -> Records:
    """The records in the arrays of a file; ValueError if they are none."""
    outputs = _ragged(arrays["outputs"], arrays["output_ends"], vocab_size)
    prompts = _ragged(arrays["prompts"], arrays["prompt_ends"], vocab_size)
    n = len(outputs)
    kinds = {
        "times": np.float64, "uses": np.float32, "own": np.uint8,
        "tasks": np.int32, "groups": np.int32,
    }  # fmt: skip
    for name, kind in kinds.items():
        if arrays[name].dtype != kind or arrays[name].shape != (n,):
            raise ValueError(f"holds {name} that do not fit its outputs")
    if len(prompts) != n:
        raise ValueError("holds prompts that do not fit its outputs")
    if not (np.isfinite(arrays["times"]).all() and np.isfinite(arrays["uses"]).all()):
        raise ValueError("holds what is no number")
    if (arrays["uses"] < 0).any() or (arrays["own"] > 1).any():
        raise ValueError("counts the impossible")
    names = _names(arrays["names"])
    tasks, groups = (_named(arrays[kind], names) for kind in ("tasks", "groups"))
    return Records(prompts, outputs, arrays["times"], arrays["uses"], arrays["own"], tasks, groups)


def _ragged(flat: NDArray[Any], ends: NDArray[Any], vocab_size: int) -> Ragged:
    if str(flat.dtype) not in ("uint16", "int32") or ends.dtype != np.int64:
        raise ValueError("holds ids that are none")
    if flat.ndim != 1 or ends.ndim != 1 or int(ends[-1] if len(ends) else 0) != len(flat):
        raise ValueError("holds ids that do not fit their ends")
    if (np.diff(ends, prepend=0) < 0).any():
        raise ValueError("holds ends that do not ascend")
    ids = flat.astype(np.int32)
    if len(ids) and (ids.min() < 0 or ids.max() >= _PADDED * vocab_size):
        raise ValueError("holds ids that are none of the vocabulary")
    return Ragged(ids, ends)


def _names(text: NDArray[Any]) -> list[str]:
    if text.dtype != np.uint8 or text.ndim != 1:
        raise ValueError("holds names that are no text")
    found: Any = json.loads(text.tobytes().decode())
    if not isinstance(found, list):
        raise ValueError("holds names that are no list")
    names = cast(list[Any], found)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("holds names that are no texts")
    return names


def _named(numbers: NDArray[np.int32], names: Sequence[str]) -> list[str | None]:
    if len(numbers) and (numbers.min() < -1 or numbers.max() >= len(names)):
        raise ValueError("holds numbers of names that are not there")
    with_none = [*names, None]  # which -1 stands for
    return [with_none[number] for number in numbers.tolist()]
