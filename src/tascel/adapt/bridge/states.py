"""A large model's states of all prompts that are learned from, read once and kept in a mapped file:
training asks for them at every epoch, and the reader itself is gone by then."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from tascel.adapt.bridge.config import BridgeConfig
from tascel.adapt.train.config import Progress
from tascel.codec import Codec
from tascel.engines.hf.bridge.reader import Reader, States
from tascel.engines.hf.load import fingerprint
from tascel.errors import ModelError
from tascel.store.file import whole_file
from tascel.types import Ids

_FACTS, _STATES, _COVERED = "states.json", "states.bf16", "covered.bool"
#: Prompts read in one pass, and how often it is noted how far the reading came.
_BATCH, _NOTED = 16, 32


@dataclass(frozen=True, slots=True)
class Source:
    """What kept states are from, when the reader is gone: as the attributes of `Reader`."""

    large: str | Path
    adapter: str | Path | None
    layer: int | None
    dtype: str
    weights: str
    width: int


class KeptStates:
    """States by prompt, bfloat16, in a folder that `keep` has filled. Nothing is read before it is
    asked for.

    Raises:
        ModelError: the folder holds no states, or not of these prompts.
    """

    def __init__(self, folder: Path, prompts: Sequence[Ids], config: BridgeConfig) -> None:
        known = _known(folder)
        places, total = _places(prompts)
        if known is None or known["read"] < len(places) or known["prompts"] != _digest(places):
            raise ModelError(
                f"{folder} holds no states of these prompts", "Remove it and train again"
            )
        self.source = Source(
            config.large, config.adapter, known["layer"], known["dtype"], known["weights"],
            known["width"],
        )  # fmt: skip
        self._places = places
        self._states, self._covered = _maps(folder, total, self.source.width, shared=False)

    def __call__(self, prompt: Ids) -> States:
        """`[n, d]` bfloat16 and bool[n] of a prompt i32[n]."""
        start = self._places[_key(prompt)]
        where = slice(start, start + len(prompt))
        return States(self._states[where], self._covered[where])


def keep(
    folder: Path,
    prompts: Sequence[Ids],
    writer: Codec,
    config: BridgeConfig,
    progress: Progress = lambda stage, done, total: None,
) -> None:
    """Read `prompts` i32[n] with the large model and keep its states in `folder`.

    What lies there of the same model, layer and prompts is taken as it is, or gone on with.

    Raises:
        ModelError: the large model cannot be loaded, or the disk has no room.
    """
    places, total = _places(prompts)
    reader: Reader | None = None
    try:
        weights = fingerprint(config.large, config.adapter)
    except ModelError:  # loading fetches what is not here yet, or says what is wrong
        reader = _reader(config)
        weights = reader.weights
    asked = {
        "weights": weights,
        "asked_layer": config.layer,
        "dtype": config.dtype,
        "writer": writer.fingerprint,
        "prompts": _digest(places),
    }
    known = _known(folder)
    if known is not None and any(known.get(name) != value for name, value in asked.items()):
        shutil.rmtree(folder)
        known = None
    if known is not None and known["read"] == len(places):
        return
    reader = reader or _reader(config)
    facts = {**asked, "layer": reader.layer, "width": reader.width}
    # Those of like length are read together; the order is the same whenever it is gone on with.
    order = sorted({_key(p): p for p in prompts}.items(), key=lambda item: (len(item[1]), item[0]))
    begun: int = known["read"] if known else 0
    _room(folder, sum(len(prompt) for _, prompt in order[begun:]), reader.width)
    states, covered = _maps(folder, total, reader.width, shared=True)
    progress("reading prompts", begun, len(order))
    for batches, at in enumerate(range(begun, len(order), _BATCH), 1):
        batch = order[at : at + _BATCH]
        seen = reader.read([prompt for _, prompt in batch], writer)
        for (key, prompt), of_prompt in zip(batch, seen, strict=True):
            where = slice(places[key], places[key] + len(prompt))
            states[where] = of_prompt.states.to("cpu", torch.bfloat16)
            covered[where] = of_prompt.covered.cpu()
        done = at + len(batch)
        if done == len(order) or batches % _NOTED == 0:
            _note(folder, facts, done)
        progress("reading prompts", done, len(order))


def _reader(config: BridgeConfig) -> Reader:
    return Reader.load(config.large, config.layer, config.adapter, config.dtype)


def _places(prompts: Sequence[Ids]) -> tuple[dict[bytes, int], int]:
    """Where the states of each prompt begin, and how many all are."""
    places: dict[bytes, int] = {}
    total = 0
    for prompt in prompts:
        key = _key(prompt)
        if key not in places:
            places[key] = total
            total += len(prompt)
    return places, total


def _key(prompt: Ids) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(prompt, np.int32).tobytes()).digest()


def _digest(places: Mapping[bytes, int]) -> str:
    return hashlib.sha256(b"".join(places)).hexdigest()


def _maps(folder: Path, total: int, width: int, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The files as bfloat16 `[total, width]` and bool `[total]`; written into only if `shared`."""
    mapped = [
        torch.from_file(str(folder / name), shared=shared, size=size, dtype=dtype)
        for name, size, dtype in (
            (_STATES, total * width, torch.bfloat16),
            (_COVERED, total, torch.bool),
        )
    ]
    return mapped[0].view(total, width), mapped[1]


def _room(folder: Path, tokens: int, width: int) -> None:
    """Make the folder; refuse to fill a disk that has no room for the states of so many tokens."""
    needed = tokens * (2 * width + 1)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{folder}: the large model's states need {needed / 1e6:,.0f} MB and the disk has "
            f"{free / 1e6:,.0f} MB left",
            "Free some space, write to another disk, or learn from fewer traces (--limit)",
        )


def _known(folder: Path) -> dict[str, Any] | None:
    """What `_note` wrote, if it did."""
    try:
        return cast(dict[str, Any], json.loads((folder / _FACTS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _note(folder: Path, facts: Mapping[str, Any], done: int) -> None:
    with whole_file(folder / _FACTS) as file:
        json.dump({**facts, "read": done}, file)
