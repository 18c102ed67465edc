"""From files of traces to records, shard by shard, by any number of workers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from tascel.building.reading import none_for_training, some_records
from tascel.building.thin import Thinned
from tascel.building.workspace import Workspace
from tascel.bundle import Progress
from tascel.codec import Codec
from tascel.errors import TascelError, TraceError
from tascel.records import Records
from tascel.traces.read import nothing_at
from tascel.traces.shards import Shard
from tascel.types import Trace
from tascel.workers import Crew, Tick

_RECORDS, _UNTIMED, _FACTS = "records.npz", "untimed.npy", "facts.json"


@dataclass(frozen=True, slots=True)
class Reading:
    """A shard to be read with the tokenizer at `tokenizer`, thinned to `cap` tokens of outputs."""

    shard: Shard
    tokenizer: Path
    cap: int
    skip_bad: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What was in a shard: how many `traces` for training, how many others; to what `level` these
    were thinned; and how many were `refused` by the chat template, and how many records `bad`, with
    the first one's reason and remedy."""

    traces: int
    others: int
    level: int
    refused: int
    bad: int
    first_refused: Sequence[str] = ()
    first_bad: Sequence[str] = ()


def gather(
    path: str | Path,
    shards: Sequence[Shard],
    codec: Codec,
    cap: int,
    crew: Crew,
    workspace: Workspace,
    progress: Progress,
    skip_bad: bool = False,
    on_bad: Callable[[TascelError, int], None] | None = None,
    now: float | None = None,
) -> tuple[Records, int, dict[str, int]]:
    """All traces for training in the shards of `path`, thinned: in their order, the level, and how
    many `traces` there were, and how many `refused`.

    Args:
        on_bad: told of the first malformed record of each shard, and how many it has.
        now: what a trace counts as that names no time; default: the time it is.

    Raises:
        TraceError: malformed records, or none for training.
    """
    jobs = {
        f"read-{at:06}": Reading(shard, workspace.tokenizer, cap, skip_bad)
        for at, shard in enumerate(shards)
    }
    places = crew.run("reading traces", jobs, read_shard, progress)
    found = [
        Found(**json.loads((place / _FACTS).read_text(encoding="utf-8")))
        for place in places.values()
    ]
    for part in found:
        if part.bad and on_bad is not None:
            on_bad(TraceError(*part.first_bad), part.bad)
    traces = sum(part.traces for part in found)
    refused = sum(part.refused for part in found)
    if not traces:
        if refused:
            raise TraceError(*next(part.first_refused for part in found if part.refused))
        raise none_for_training() if any(part.others for part in found) else nothing_at(path)
    thinned = Thinned(cap)
    thinned.level = max(part.level for part in found)
    now = time.time() if now is None else now
    for place in places.values():
        thinned.add(_read(place, codec.vocab_size, now))
    return thinned.records(), thinned.level, {"traces": traces, "refused": refused}


def read_shard(job: Reading, out: Path, tick: Tick) -> None:
    """Write a shard's traces for training into a new folder, and what else was in it."""
    traces = others = 0
    refused: list[TascelError] = []
    bad: list[TascelError] = []
    thinned = Thinned(job.cap)

    def told() -> Iterator[Trace]:
        nonlocal others
        for trace in job.shard.traces(job.skip_bad, bad.append):
            others += trace.split not in (None, "train")
            yield trace

    def take(some: Records) -> None:
        nonlocal traces
        thinned.add(some)
        traces += len(some)
        tick(len(some))

    some_records(told(), _codec(job.tokenizer), take, refused.append, np.nan)
    out.mkdir()
    records = thinned.records()
    untimed = np.isnan(records.times)
    np.save(out / _UNTIMED, untimed)
    replace(records, times=np.where(untimed, 0.0, records.times)).write(out / _RECORDS)
    found = Found(
        traces, others, thinned.level, len(refused), len(bad),
        *((some[0].what, some[0].remedy) if some else () for some in (refused, bad)),
    )  # fmt: skip
    (out / _FACTS).write_text(json.dumps(asdict(found)), encoding="utf-8")


def _read(place: Path, vocab_size: int, now: float) -> Records:
    """What `read_shard` wrote, as if read `now`."""
    records = Records.read(place / _RECORDS, vocab_size)
    return replace(records, times=np.where(np.load(place / _UNTIMED), now, records.times))


@lru_cache(maxsize=1)
def _codec(tokenizer: Path) -> Codec:
    """Of this worker; it reads many shards."""
    return Codec.from_pretrained(tokenizer)
