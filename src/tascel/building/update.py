"""A bundle learns new traces, and what servers have learned, into its index."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tascel.building.reading import read_records
from tascel.building.relearn import like, relearn, whole
from tascel.building.thin import PROMPTS
from tascel.bundle import Progress, silent
from tascel.errors import BundleError
from tascel.learning.config import DAY, LearnConfig
from tascel.records import Records
from tascel.traces.read import read_traces
from tascel.types import Trace

#: Days after which an exchange that nobody needed since is worth half as much.
HALF_LIFE = LearnConfig().half_life


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of a bundle: `read` traces were new, `served` exchanges had been learned online;
    `refused` traces the chat template did not take; `left_out` exchanges were too many or too old;
    `dropped` is what did not go over."""

    read: int
    served: int
    refused: int
    left_out: int
    dropped: tuple[str, ...] = ()


def learn(
    path: str | Path,
    traces: Iterable[Trace] | str | Path | None = None,
    *,
    days: float | None = None,
    command: Sequence[str] = (),
    progress: Progress = silent,
    now: float | None = None,
) -> Learned:
    """Learn `traces`, and what was learned online, into the index of the bundle at `path`; trust,
    features and tasks are learned anew.

    Where it becomes larger than the build allowed, the least useful exchanges are left out, by uses
    that count half after `HALF_LIFE` days, then the oldest. Selections and neural drafts stay.

    Args:
        traces: as `build` takes them, those for training count.
        days: leave out what is older.
        command: the command line to note in the manifest.
        now: the time it is, in seconds since 1970.

    Raises:
        TraceError: traces are given and none can be used.
        BundleError: no bundle, a damaged one, or one that another process replaced meanwhile; or
            nothing would be left of it.
    """
    now = time.time() if now is None else now
    bundle, known = whole(path, progress)
    worth = _Worth(known, bundle.manifest.settings.corpus_tokens, now, days)
    counts, before = {"traces": 0, "refused": 0}, bundle.manifest.counts
    if traces is not None:
        stream = read_traces(traces) if isinstance(traces, str | Path) else traces
        counts = read_records(stream, bundle.codec, worth.add, progress, now)
    served = len(known) - before["outputs"]
    kept = worth.records()
    if not len(kept):
        raise BundleError(f"{path}: nothing in it is younger than {days} days", "Give more --days")
    left_out = len(known) + counts["traces"] - len(kept)
    if not (served or counts["traces"] or left_out):
        return Learned(0, 0, counts["refused"], 0)
    facts = {
        "traces": before["traces"] + served + counts["traces"],
        "refused": before["refused"] + counts["refused"],
    }
    source = like(bundle, kept, facts, command)
    after = relearn(bundle, known, source, progress, keep=True)
    dropped = ("the neural drafts",) if bundle.neural and not after.neural else ()
    return Learned(counts["traces"], served, counts["refused"], left_out, dropped)


class _Worth:
    """Those of a stream that are worth keeping: what is not goes along the way, since a stream may
    be larger than the memory."""

    def __init__(self, known: Records, tokens: int, now: float, days: float | None) -> None:
        self._tokens, self._now, self._days = tokens, now, days
        self._parts, self._added = [known], 0

    def add(self, some: Records) -> None:
        """Take the stream's next exchanges."""
        self._parts.append(some)
        self._added += len(some.outputs.flat) + len(some) + len(some.prompts.flat)
        if self._added > (1 + PROMPTS) * self._tokens:
            self._parts, self._added = [self.records()], 0

    def records(self) -> Records:
        """Those that are worth it so far, in the order they came."""
        every = Records.join(self._parts)
        return every.some(worth_keeping(every, self._tokens, self._now, self._days))


def worth_keeping(
    records: Records, tokens: int, now: float, days: float | None = None
) -> NDArray[np.int64]:
    """The numbers of the exchanges that fit into an index of so many `tokens`, ascending; the most
    useful ones, of these the youngest."""
    age = np.maximum(now - records.times, 0)
    worth = records.uses * np.exp2(-age / (HALF_LIFE * DAY))
    outputs, prompts = records.outputs.lengths + 1, records.prompts.lengths
    best = np.lexsort((-np.arange(len(records)), age, -worth))
    if days is not None:
        best = best[age[best] <= days * DAY]
    fits = (np.cumsum(outputs[best]) <= tokens) & (np.cumsum(prompts[best]) <= PROMPTS * tokens)
    fits[:1] = True  # one stays at least
    return np.sort(best[np.logical_and.accumulate(fits)])
