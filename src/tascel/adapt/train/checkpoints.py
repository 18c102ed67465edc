"""Checkpoints on disk. One counts when its last file is there, so a kill does no harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tascel.errors import ModelError
from tascel.store.file import whole_file

_COMPLETE = "complete.json"
_SETTINGS = "settings.json"
#: Beside the weights that learn, AdamW keeps two numbers for each, in float32 all of them.
_BYTES_A_PARAMETER = 3 * 4
#: The best, the last, and the one being written.
_AT_ONCE = 3


def begun(folder: Path, settings: dict[str, Any], resume: bool) -> Path | None:
    """The checkpoint to go on from, if there is one.

    Raises:
        ModelError: there is one and `resume` was not said, or it is of another training.
    """
    last = max(_complete(folder), key=_step, default=None)
    if last is None:
        return None
    if not resume:
        raise ModelError(
            f"{folder} holds an unfinished training",
            "Go on from it with --resume, or remove that folder",
        )
    note = folder / _SETTINGS
    if not note.exists() or json.loads(note.read_text()) != settings:
        raise ModelError(
            f"{folder} is from a training with other settings or traces",
            "Repeat those, or remove that folder",
        )
    return last


def prepare(folder: Path, settings: dict[str, Any], parameters: int) -> None:
    """Make the folder and note what it belongs to.

    Raises:
        ModelError: the disk has no room for checkpoints of so many parameters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed = _AT_ONCE * _BYTES_A_PARAMETER * parameters
    free = shutil.disk_usage(folder).free + sum(_size(c) for c in _complete(folder))
    if free < needed:
        raise ModelError(
            f"{folder}: checkpoints need up to {needed / 1e6:,.0f} MB and the disk has "
            f"{free / 1e6:,.0f} MB left",
            "Free some space, or write to another disk",
        )
    with whole_file(folder / _SETTINGS) as file:
        json.dump(settings, file)


def complete(checkpoint: Path, finished: bool) -> None:
    """Say that all of a checkpoint is on disk, and whether the training ended there."""
    with whole_file(checkpoint / _COMPLETE) as file:
        json.dump({"finished": finished}, file)


def is_finished(checkpoint: Path) -> bool:
    """Whether the training ended there, and only its result was not written."""
    return bool(json.loads((checkpoint / _COMPLETE).read_text())["finished"])


def keep_only(folder: Path, steps: Collection[int]) -> None:
    """Remove all checkpoints but those of `steps`."""
    for checkpoint in folder.glob("checkpoint-*"):
        if _step(checkpoint) not in steps:
            (checkpoint / _COMPLETE).unlink(missing_ok=True)  # first: half of one must not count
            shutil.rmtree(checkpoint)


def remove(folder: Path) -> None:
    """Remove all of it: the result is written."""
    keep_only(folder, ())
    shutil.rmtree(folder)


def at(folder: Path, step: int) -> Path:
    """A checkpoint's folder, as transformers' Trainer names it."""
    return folder / f"checkpoint-{step}"


def _complete(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob(f"checkpoint-*/{_COMPLETE}")]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
