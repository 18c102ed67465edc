"""What prompts and outputs look like to drafts, computed once by any number of workers and mapped.

A prompt's words take a tokenizer and most of the time that learning takes; on the disk they are
some 100 bytes a token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tascel.building.workspace import Workspace
from tascel.bundle import Progress
from tascel.codec import Codec
from tascel.draft.features import Features
from tascel.draft.kernels.copying import Words
from tascel.draft.reader import Reader
from tascel.records import Records
from tascel.route.seen import Made, Seen
from tascel.workers import Crew, Tick

#: Tokens that a job looks at, about; more where there would be more than `_MOST` jobs, since each
#: mapped array keeps a file open, and a process may often have a thousand.
_TOKENS, _MOST = 1_000_000, 64
#: Arrays of a job's result, all records' one behind the other: of the spelled prompts, and of the
#: starts in them.
_WORDS = ("token", "follow", "starts", "first", "where", "traits")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Looking:
    """Records in a file, of a tokenizer that lies at `tokenizer`."""

    records: Path
    tokenizer: Path
    vocab_size: int


def look(
    records: Records, codec: Codec, crew: Crew, workspace: Workspace, progress: Progress
) -> Seen:
    """The records as a reader sees them, mapped: they are there as long as the workspace is."""
    ends = records.prompts.ends + records.outputs.ends
    parts = (ends - 1) // max(_TOKENS, int(ends[-1]) // _MOST + 1)
    starts = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist()]
    jobs: dict[str, Looking] = {}
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        file = put(records.some(range(start, end)), workspace.folder)
        jobs[f"look-{file.stem}"] = Looking(file, workspace.tokenizer, codec.vocab_size)
    stage = "looking at prompts"
    places = crew.run(stage, jobs, look_at, progress, len(records))
    parts = [_Looked(place) for place in places.values()]
    ends = np.cumsum([len(part) for part in parts])

    def made(what: Callable[[_Looked, int], T]) -> Made[T]:
        def make(i: int) -> T:
            at = int(np.searchsorted(ends, i, side="right"))
            return what(parts[at], i - (int(ends[at - 1]) if at else 0))

        return Made(make, range(len(records)))

    words, about, said = made(_Looked.words), made(_Looked.about), made(_Looked.said)
    return Seen(records.prompts, records.outputs, words, about, said)


def look_at(job: Looking, out: Path, tick: Tick) -> None:
    """Write what the records of a job look like into a new folder."""
    records, reader = Records.read(job.records, job.vocab_size), reader_of(job.tokenizer)
    words: list[Words] = []
    about: list[Features] = []
    said: list[Features] = []
    for prompt, output in zip(records.prompts, records.outputs, strict=True):
        words.append(reader.words(prompt))
        about.append(reader.about(prompt))
        said.append(reader.about(output))
        tick(1)
    out.mkdir()
    columns = {
        **{name: [getattr(some, name) for some in words] for name in _WORDS},
        "about": about,
        "said": said,
    }
    for name, column in columns.items():
        np.save(out / f"{name}.npy", np.concatenate(column))
    for name in ("token", "starts", "about", "said"):
        np.save(out / f"{name}-ends.npy", np.cumsum([len(part) for part in columns[name]]))
    np.save(out / "length.npy", np.array([some.length for some in words]))


class _Looked:
    """A job's result, mapped; where its parts end is read."""

    def __init__(self, place: Path) -> None:
        def mapped(name: str) -> NDArray[Any]:
            # private pages: kernels are compiled for arrays that may be written
            array: Any = np.load(place / f"{name}.npy", mmap_mode="c")
            return np.asarray(array)

        def read(name: str) -> NDArray[np.int64]:
            return np.load(place / f"{name}.npy")

        self._arrays = {name: mapped(name) for name in (*_WORDS, "about", "said")}
        self._ends = {name: read(f"{name}-ends") for name in ("token", "starts", "about", "said")}
        self._lengths: list[int] = read("length").tolist()

    def __len__(self) -> int:
        return len(self._lengths)

    def words(self, at: int) -> Words:
        """Of the prompt of record `at`."""
        arrays, spelled, starts = self._arrays, self._slice("token", at), self._slice("starts", at)
        return Words(
            arrays["token"][spelled], arrays["follow"][spelled],
            arrays["starts"][starts], arrays["first"][starts], arrays["where"][starts],
            arrays["traits"][starts], self._lengths[at],
        )  # fmt: skip

    def about(self, at: int) -> Features:
        """The features of its prompt."""
        return self._arrays["about"][self._slice("about", at)]

    def said(self, at: int) -> Features:
        """Those of its output."""
        return self._arrays["said"][self._slice("said", at)]

    def _slice(self, name: str, at: int) -> slice:
        ends = self._ends[name]
        return slice(int(ends[at - 1]) if at else 0, int(ends[at]))


def put(some: Records, folder: Path) -> Path:
    """Write records for a job, unless they are there, to a file named after what they say."""
    made = hashlib.sha256(json.dumps(some.groups).encode())
    for ragged in (some.prompts, some.outputs):
        made.update(ragged.ends.tobytes() + ragged.flat.tobytes())
    file = folder / f"some-{made.hexdigest()[:16]}.npz"
    if not file.exists():
        partial = file.with_suffix(".partial")
        some.write(partial)
        partial.replace(file)
    return file


@lru_cache(maxsize=1)
def reader_of(tokenizer: Path) -> Reader:
    """Of this worker; it looks at many."""
    return Reader(Tokenizer.from_file(str(tokenizer / "tokenizer.json")))
