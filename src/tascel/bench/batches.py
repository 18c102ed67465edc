"""Batches side by side: the same prompts, so many at a time, with drafts, without, and by stock
`generate`; several interleaved runs, medians."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from tascel.bench.compare import setting
from tascel.bench.contenders import in_transformers
from tascel.bench.memory import memory
from tascel.bench.steps import Recorder, drafting
from tascel.decode.watch import Watch
from tascel.errors import RequestError
from tascel.runner import Runner
from tascel.types import Request

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's answers to all prompts, in their order. `drafted` is by source; `passes`
    counts those of the model, 0 where nobody knows; `tasks` prompts by whose draft served them,
    where a bundle has several."""

    seconds: float
    tokens: tuple[tuple[int, ...], ...]
    passes: int = 0
    drafted: Mapping[str, int] = field(default_factory=dict[str, int])
    tasks: Mapping[str, int] = field(default_factory=dict[str, int])


def race(
    runner: Runner,
    requests: Sequence[Request],
    rows: int,
    names: Sequence[str],
    repeats: int = 5,
    progress: Progress = lambda done, total: None,
    watch: Watch | None = None,
) -> dict[str, list[Run]]:
    """`repeats` runs of every contender, taking turns; who begins changes. A `watch` hears ours.

    What a run taught the draft and what it left in the cache is dropped before the next.

    Raises:
        RequestError: a name that is not none, tascel or transformers.
    """
    known = {
        "tascel": lambda: _ours(runner, requests, rows, plain=False, watch=watch),
        "none": lambda: _ours(runner, requests, rows, plain=True),
        "transformers": lambda: _stock(runner, requests, rows),
    }
    for name in names:
        if name not in known:
            raise RequestError(
                f"there is no contender {name!r} in batches", f"Choose of {[*known]}"
            )
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for repeat in range(repeats):
        at = repeat % len(names)
        for name in [*names[at:], *names[:at]]:
            runs[name].append(known[name]())
            progress(sum(map(len, runs.values())), repeats * len(names))
    return runs


def report(
    runner: Runner, runs: Mapping[str, Sequence[Run]], rows: int, recorder: Recorder
) -> dict[str, Any]:
    """The stable output format of `bench --rows`. What a `recorder` heard of our last run becomes
    `drafting`; nobody's milliseconds are in it, since a pass is many answers'."""
    ours = runs["tascel"][0]
    return {
        **setting(runner),
        "examples": len(ours.tokens),
        "rows_at_once": rows,
        "rows": table(runs),
        "prompts_by_task": dict(ours.tasks),
        "drafting": drafting(recorder.answers.values(), None),
        "memory_bytes": memory(runner),
    }


def table(runs: Mapping[str, Sequence[Run]], baseline: str = "none") -> list[dict[str, Any]]:
    """One row a contender. `speedup` is the median over runs of the baseline's seconds to its own
    in the same turn, `interval` the least and the greatest of these."""
    return [_row(name, own, runs[baseline]) for name, own in runs.items()]


def _row(name: str, own: Sequence[Run], base: Sequence[Run]) -> dict[str, Any]:
    ratios = [b.seconds / o.seconds for o, b in zip(own, base, strict=True)]
    tokens = sum(map(len, own[0].tokens))
    mismatches = sum(a != b for a, b in zip(own[0].tokens, base[0].tokens, strict=True))
    return {
        "name": name,
        "tokens": tokens,
        "seconds": [run.seconds for run in own],
        "tokens_per_second": tokens / median(run.seconds for run in own),
        "speedup": median(ratios),
        "interval": [min(ratios), max(ratios)],
        "passes": own[0].passes,
        "drafted_share": sum(own[0].drafted.values()) / tokens,
        "by_source": {source: n / tokens for source, n in own[0].drafted.items()},
        "identical": mismatches == 0,
        "mismatches": mismatches,
    }


def _ours(
    runner: Runner,
    requests: Sequence[Request],
    rows: int,
    *,
    plain: bool,
    watch: Watch | None = None,
) -> Run:
    runner.forget()
    place = {request.id: at for at, request in enumerate(requests)}
    tokens: list[tuple[int, ...]] = [()] * len(requests)
    drafted, tasks = Counter[str](), Counter[str]()
    scheduler = runner.scheduler(rows, plain=plain, watch=watch)
    started, passes = perf_counter(), 0
    for request in requests:
        scheduler.add(request)
    while scheduler.waiting or scheduler.running:
        passes += 1
        for event in scheduler.step():
            if event.error is not None:
                raise event.error
            if event.completion is not None:
                tokens[place[event.request.id]] = event.completion.tokens
                drafted.update(event.completion.stats.accepted)
                if event.completion.stats.task is not None:
                    tasks[event.completion.stats.task] += 1
    return Run(perf_counter() - started, tuple(tokens), passes, drafted, tasks)


def _stock(runner: Runner, requests: Sequence[Request], rows: int) -> Run:
    """transformers' own batches, sorted by length in windows, padded on the left."""
    from tascel.engines.hf.batch import answers

    started = perf_counter()
    prompts = [request.prompt for request in requests]
    most = max(request.max_tokens for request in requests)
    got: Iterator[tuple[int, Any]] = answers(
        in_transformers(runner), prompts, runner.engine.eos_ids, runner.codec.end_id, most, rows,
        runner.conditioner,
    )  # fmt: skip
    tokens = {at: tuple(ids.tolist()) for at, ids in got}
    return Run(perf_counter() - started, tuple(tokens[at] for at in range(len(requests))))
