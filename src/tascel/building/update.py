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
from tascel.records import Records
from tascel.traces.read import read_traces
from tascel.types import Trace

#: Days after which an exchange that nobody needed since is worth half as much.
HALF_LIFE = 7.0
_DAY = 86_400.0


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
    parts, counts = [known], {"traces": 0, "refused": 0}
    if traces is not None:
        stream = read_traces(traces) if isinstance(traces, str | Path) else traces
        counts = read_records(stream, bundle.codec, parts.append, progress, now)
    every, before = Records.join(parts), bundle.manifest.counts
    served = len(known) - before["outputs"]
    kept = worth_keeping(every, bundle.manifest.settings.corpus_tokens, now, days)
    if not len(kept):
        raise BundleError(f"{path}: nothing in it is younger than {days} days", "Give more --days")
    left_out = len(every) - len(kept)
    if not (served or counts["traces"] or left_out):
        return Learned(0, 0, counts["refused"], 0)
    facts = {
        "traces": before["traces"] + served + counts["traces"],
        "refused": before["refused"] + counts["refused"],
    }
    source = like(bundle, every.some(kept), facts, command)
    after = relearn(bundle, known, source, progress, keep=True)
    dropped = ("the neural drafts",) if bundle.neural and not after.neural else ()
    return Learned(counts["traces"], served, counts["refused"], left_out, dropped)


def worth_keeping(
    records: Records, tokens: int, now: float, days: float | None = None
) -> NDArray[np.int64]:
    """The numbers of the exchanges that fit into an index of so many `tokens`, ascending; the most
    useful ones, of these the youngest."""
    age = np.maximum(now - records.times, 0)
    worth = records.uses * np.exp2(-age / (HALF_LIFE * _DAY))
    outputs, prompts = records.outputs.lengths + 1, records.prompts.lengths
    best = np.lexsort((-np.arange(len(records)), age, -worth))
    if days is not None:
        best = best[age[best] <= days * _DAY]
    fits = (np.cumsum(outputs[best]) <= tokens) & (np.cumsum(prompts[best]) <= PROMPTS * tokens)
    fits[:1] = True  # one stays at least
    return np.sort(best[np.logical_and.accumulate(fits)])
