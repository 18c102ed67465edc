"""What the runs of `vllm_speed.py` add up to: speeds over all requests and over windows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

#: Of the first and of the last so many requests, or a third if they are fewer, the speed is told
#: apart.
WINDOW = 200
#: A point of the cumulative curve after every so many.
POINT = 50

#: What `vllm_run.py` says, and what was asked of it.
Run = dict[str, Any]


def speed(run: Run, first: int = 0, last: int | None = None) -> float:
    """Tokens a second of the requests that ended as number `first` to before `last`."""
    ended = run["requests"][first:last]
    started = run["requests"][first - 1][1] if first else 0.0
    return sum(tokens for _, _, tokens, _ in ended) / (ended[-1][1] - started)


def checksums(run: Run) -> dict[int, int]:
    return {request: checksum for request, _, _, checksum in run["requests"]}


def window_of(requests: int) -> int:
    """How many requests make a window."""
    return min(WINDOW, max(1, requests // 3))


def summary(
    runs: Sequence[Run], window: int, distinct: int, plain: Mapping[int, int] | None
) -> Run:
    """Medians of one contender's runs. `differ` are answers unlike those of none's first run, of
    those that it gave."""
    count = len(runs[0]["requests"])
    speeds = [speed(run) for run in runs]
    counted = {name: median(run["counters"][name] for run in runs) for name in runs[0]["counters"]}
    return {
        "settings": runs[0]["settings"],
        "tokens_per_second": median(speeds),
        "least_most": [min(speeds), max(speeds)],
        "first": median(speed(run, 0, window) for run in runs),
        "last": median(speed(run, max(0, count - window)) for run in runs),
        "last_distinct": median(
            speed(run, max(0, min(count, distinct) - window), min(count, distinct)) for run in runs
        ),
        "curve": [
            [end, round(float(np.median([speed(run, 0, end) for run in runs])), 1)]
            for end in range(POINT, count + 1, POINT)
        ],
        "requests": count,
        "tokens": sum(request[2] for request in runs[0]["requests"]),
        "differ": None if plain is None else max(
            sum(plain.get(request, checksum) != checksum
                for request, checksum in checksums(run).items())
            for run in runs
        ),
        **counted,
    }  # fmt: skip


def show(report: Mapping[str, Any]) -> None:
    """Tokens a second and their ratio to none's, overall, first and last."""
    print(f"{report['task']}: {report['requests']} requests, {report['distinct']} distinct")
    for rows, by_name in report["at_a_time"].items():
        print(
            f"{rows} at a time: tok/s, ×none, first {report['window']}, last, last before repeats"
        )
        base = by_name.get("none", next(iter(by_name.values())))["tokens_per_second"]
        for name, row in by_name.items():
            parts = [row[part] for part in ("first", "last", "last_distinct")]
            print(f"  {name:8} {row['tokens_per_second']:7.1f} "
                  f"{row['tokens_per_second'] / base:5.2f} "
                  + " ".join(f"{part:7.1f}" for part in parts)
                  + f"  differ {row['differ']}")  # fmt: skip
