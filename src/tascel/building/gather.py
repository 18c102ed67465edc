"""From files of traces to records, shard by shard, by any number of workers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tascel.building.reading import none_for_training, some_records
from tascel.building.thin import Thinned, level_for, levels_of
from tascel.building.workspace import Workspace
from tascel.bundle import Progress
from tascel.codec import Codec
from tascel.errors import TascelError, TraceError
from tascel.records import Records
from tascel.traces.read import BadLines, Place, malformed, nothing_at
from tascel.traces.shards import Shard
from tascel.types import Trace
from tascel.workers import Crew, Tick

_RECORDS, _PLACES, _UNTIMED = "records.npz", "places.npy", "untimed.npy"
_FACTS = "facts.json"


@dataclass(frozen=True, slots=True)
class Reading:
    """A shard to be read with the tokenizer at `tokenizer`, thinned to `cap` tokens of outputs."""

    shard: Shard
    tokenizer: Path
    cap: int
    skip_bad: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What was in a shard: how many `traces` for training, and how many others; to what `level`
    these were thinned, and the tokens that `level_for` asks for, by level; how many were `refused`
    by the chat template, with the first one's reason and remedy; and how many records were `bad`,
    with the first one's line or row, the byte from which lines are counted, and the reason."""

    traces: int
    others: int
    level: int
    outputs: Mapping[str, int]
    prompts: Mapping[str, int]
    refused: int
    bad: int
    first_refused: Sequence[str] = ()
    first_bad: tuple[int, int | None, str] | None = None


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
        on_bad: told of the first malformed record that was left out, and how many were.
        now: what a trace counts as that names no time; default: the time it is.

    Raises:
        TraceError: malformed records, or none for training.
    """
    jobs = {
        f"read-{at:06}": Reading(_anywhere(shard), workspace.tokenizer, cap, skip_bad)
        for at, shard in enumerate(shards)
    }
    places = crew.run("reading traces", jobs, read_shard, progress)
    found = [
        Found(**json.loads((place / _FACTS).read_text(encoding="utf-8")))
        for place in places.values()
    ]
    if on_bad is not None:
        _tell(shards, found, on_bad)
    traces = sum(part.traces for part in found)
    refused = sum(part.refused for part in found)
    if not traces:
        if refused:
            raise TraceError(*next(part.first_refused for part in found if part.refused))
        raise none_for_training() if any(part.others for part in found) else nothing_at(path)
    level = level_for(
        cap,
        _summed(part.outputs for part in found),
        _summed(part.prompts for part in found),
        max(part.level for part in found),
    )
    now = time.time() if now is None else now
    parts = [_read(place, codec.vocab_size, level, now) for place in places.values()]
    return Records.join(parts), level, {"traces": traces, "refused": refused}


def read_shard(job: Reading, out: Path, tick: Tick) -> None:
    """Write a shard's traces for training into a new folder, and what else was in it."""
    traces = others = 0
    refused, bad = BadLines(), 0
    first_bad: tuple[int, int | None, str] | None = None
    thinned = Thinned(job.cap)

    def left_out(place: Place, why: str) -> None:
        nonlocal bad, first_bad
        bad, first_bad = bad + 1, first_bad or (place.number, place.first, why)

    def told() -> Iterator[Trace]:
        nonlocal others
        for trace in job.shard.traces(left_out if job.skip_bad else None):
            others += trace.split not in (None, "train")
            yield trace

    def take(some: Records) -> None:
        nonlocal traces
        thinned.add(some)
        traces += len(some)
        tick(len(some))

    some_records(told(), _codec(job.tokenizer), take, refused.add, np.nan)
    out.mkdir()
    outputs, prompts = _by_level(thinned.records(), out)
    found = Found(
        traces, others, thinned.level, outputs, prompts, refused.count, bad,
        (refused.first.what, refused.first.remedy) if refused.first else (), first_bad,
    )  # fmt: skip
    (out / _FACTS).write_text(json.dumps(asdict(found)), encoding="utf-8")


def _anywhere(shard: Shard) -> Shard:
    """The same for workers, which may stand in another folder."""
    return replace(shard, file=shard.file.absolute())


def _tell(
    shards: Sequence[Shard], found: Sequence[Found], on_bad: Callable[[TascelError, int], None]
) -> None:
    """Say what was left out, if anything was."""
    for shard, part in zip(shards, found, strict=True):
        if part.first_bad is not None:
            number, first, why = part.first_bad
            place = Place(shard.file, number, first)
            on_bad(malformed(place, why), sum(part.bad for part in found))
            return


def _by_level(records: Records, out: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Write records so that those of a level can be read without the others: their tokens by level.

    Where much is thinned away, few have to be read again.
    """
    levels = levels_of(records)
    outputs, prompts = dict[str, int](), dict[str, int]()
    for level in np.unique(levels).tolist():
        at = np.flatnonzero(levels == level)
        some, folder = records.some(at), out / _folder(level)
        outputs[str(level)] = len(some.outputs.flat) + len(some)
        prompts[str(level)] = len(some.prompts.flat)
        folder.mkdir()
        untimed = np.isnan(some.times)
        np.save(folder / _PLACES, at)
        np.save(folder / _UNTIMED, untimed)
        replace(some, times=np.where(untimed, 0.0, some.times)).write(folder / _RECORDS)
    return outputs, prompts


def _read(place: Path, vocab_size: int, level: int, now: float) -> Records:
    """What `read_shard` wrote of a level and those above, as if read `now`."""
    folders = [folder for at in range(level, 64) if (folder := place / _folder(at)).exists()]
    parts: list[Records] = []
    for folder in folders:
        some = Records.read(folder / _RECORDS, vocab_size)
        times = np.where(np.load(folder / _UNTIMED), now, some.times)
        parts.append(replace(some, times=times))
    at = [np.zeros(0, np.int64), *(np.load(folder / _PLACES) for folder in folders)]
    return Records.join(parts).some(np.argsort(np.concatenate(at)))


def _folder(level: int) -> str:
    return f"level-{level:02}"


def _summed(parts: Iterable[Mapping[str, int]]) -> NDArray[np.int64]:
    """Tokens by level: i64[64]."""
    total = np.zeros(64, np.int64)
    for part in parts:
        for level, tokens in part.items():
            total[int(level)] += tokens
    return total


@lru_cache(maxsize=1)
def _codec(tokenizer: Path) -> Codec:
    """Of this worker; it reads many shards."""
    return Codec.from_pretrained(tokenizer)
