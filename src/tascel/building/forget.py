"""What shall be forgotten leaves the bundle: its index, its records, and what was made of them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tascel.building.own import journal
from tascel.building.relearn import like, relearn, whole
from tascel.building.workspace import place, workspace
from tascel.bundle import Bundle, Progress, silent
from tascel.codec import Codec
from tascel.errors import BundleError, RequestError
from tascel.records import Records
from tascel.store.replace import clear_beside

_TOLD = 1000  # exchanges between two words on how far the search is


@dataclass(frozen=True, slots=True)
class Which:
    """The exchanges whose prompt or output `match` finds something in, of those that are older than
    `before`, in seconds since 1970; None stands for all."""

    match: re.Pattern[str] | None = None
    before: float | None = None

    def __post_init__(self) -> None:
        if self.match is None and self.before is None:
            raise RequestError("nothing says what to forget", "Give --match or --older-than")

    def of(self, records: Records, codec: Codec, progress: Progress) -> NDArray[np.bool_]:
        """Which of the records: bool[n]."""
        chosen = np.ones(len(records), np.bool_)
        if self.before is not None:
            chosen &= records.times < self.before
        if self.match is not None:
            at: list[int] = np.flatnonzero(chosen).tolist()
            for done, i in enumerate(at):
                if done % _TOLD == 0:
                    progress("searching", done, len(at))
                chosen[i] = any(
                    self.match.search(codec.decode(ids.tolist()))
                    for ids in (records.outputs[i], records.prompts[i])
                )
            progress("searching", len(at), len(at))
        return chosen


@dataclass(frozen=True, slots=True)
class Forgotten:
    """So many exchanges of `total` were `found`; `dropped` is what else went with them."""

    found: int
    total: int
    dropped: tuple[str, ...] = ()


def forget(
    path: str | Path, which: Which, *, dry_run: bool = False, progress: Progress = silent
) -> Forgotten:
    """Learn the bundle at `path` anew without some exchanges, so that nothing is left of them.

    Selections and neural drafts go, for they were made of all exchanges; so does what killed
    processes left beside the bundle. The model's tokenizer stays, with new tokens that it may have.

    Args:
        dry_run: only count them.

    Raises:
        BundleError: no bundle, a damaged one, or one that another process builds or replaces; or
            nothing would be left of it.
    """
    bundle, records = whole(path, progress)
    chosen = which.of(records, bundle.codec, progress)
    found, total = int(chosen.sum()), len(records)
    parts = {"the selection": bundle.selection, "the neural drafts": bundle.neural}
    dropped = tuple(name for name, part in parts.items() if part is not None)
    if dry_run:
        return Forgotten(found, total, dropped if found else ())
    if found == total:
        raise BundleError(
            f"{path}: all of its {total:,} exchanges would be forgotten", "Remove the folder itself"
        )
    _clear(bundle)
    if found:
        left = records.some(np.flatnonzero(~chosen))
        counts = bundle.manifest.counts
        learned = total - counts["outputs"]
        facts = {
            "traces": max(counts["traces"] + learned - found, len(left)),
            "refused": counts["refused"],
        }

        def late(some: Records) -> Records:
            return some.some(np.flatnonzero(~which.of(some, bundle.codec, silent)))

        # the command stays that of the build: this one may quote what is forgotten
        relearn(bundle, records, like(bundle, left, facts), progress, keep=False, late=late)
    return Forgotten(found, total, dropped if found else ())


def since(age: str, now: float | None = None) -> float:
    """The moment that was `age` ago, such as 30d, 12h or 2w, in seconds since 1970.

    Raises:
        RequestError: it is no age.
    """
    units = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", age)
    if not found:
        raise RequestError(
            f"{age!r} is no age", "Give minutes, hours, days or weeks: 90m 12h 30d 2w"
        )
    return (time.time() if now is None else now) - float(found[1]) * units[found[2]]


def _clear(bundle: Bundle) -> None:
    """Remove what killed processes left beside the bundle: it may hold what was in it."""
    path = bundle.path.resolve()
    clear_beside(path)
    if place(path).exists():
        with workspace(path, None, bundle.codec):  # without facts it holds nothing of another's
            pass
    journal(path).unlink(missing_ok=True)
