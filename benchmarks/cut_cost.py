"""Under OpenVINO: what a refused token costs that stays in the cache, and what cutting it out does.

python benchmarks/cut_cost.py EXPORT [--dtypes float32 bfloat16] [--json F]

EXPORT is a folder of `tascel export --to openvino`. Of two rows of 96 live tokens one has 256 dead
ones as well; passes of both take turns, and the least time of each counts. `READ` and `_COPYING` in
engines/openvino/ are these numbers, rounded, and docs/openvino.md tells them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tascel.draft.base import Proposal
from tascel.engines.openvino.engine import OpenVinoEngine
from tascel.engines.profile import machine
from tascel.store.file import whole_file

LIVE, DEAD, WIDTH, ROUNDS = 96, 256, 16, 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("export", type=Path)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = {dtype: measured(args.export, dtype) for dtype in args.dtypes}
    for dtype, row in found.items():
        print(dtype, *(f"{name} {value:.4g}" for name, value in row.items()))
    if args.json:
        sizes = {"live": LIVE, "dead": DEAD, "width": WIDTH, "rounds": ROUNDS}
        content = {"machine": machine(), "model": args.export.name, **sizes, "dtypes": found}
        with whole_file(args.json) as file:
            file.write(json.dumps(content, indent=1) + "\n")


def measured(export: Path, dtype: str) -> dict[str, float]:
    """Milliseconds of a pass without and with dead entries, and of cutting them out; from these,
    microseconds of a dead entry for every token that is fed, milliseconds of a live one."""
    engine = OpenVinoEngine(export, dtype=dtype)
    rows = engine._rows
    rows._copying = 10**9  # nothing is cut out but when we say so
    prompt = np.arange(LIVE, dtype=np.int32) % 1000 + 100
    clean, dirty = (engine.open(prompt, 2 * (LIVE + DEAD))[0] for _ in range(2))
    engine.check([clean, dirty], [prompt, prompt], [Proposal.nothing(), chain(DEAD)])
    engine.keep([clean, dirty], [[], []])
    taken: dict[str, list[float]] = {"clean": [], "dirty": [], "cut": []}
    for _ in range(ROUNDS):
        for name, row in (("clean", clean), ("dirty", dirty)):
            taken[name].append(ms(lambda row=row: fed(engine, row)))  # both grow alike
    for _ in range(ROUNDS):
        taken["cut"].append(ms(lambda: rows._cut(dirty)))
    least = {f"{name}_ms": min(times) for name, times in taken.items()}
    extra = least["dirty_ms"] - least["clean_ms"]
    return least | {
        "dead_entry_us": 1000 * extra / (DEAD * WIDTH),
        "live_entry_ms": least["cut_ms"] / len(dirty.tokens),
    }


def fed(engine: OpenVinoEngine, row: Any) -> None:
    engine.check([row], [np.array([7], np.int32)], [chain(WIDTH - 1)])
    engine.keep([row], [[]])


def chain(length: int) -> Proposal:
    return Proposal.chain([7] * length)


def ms(do: Callable[[], None]) -> float:
    started = perf_counter()
    do()
    return 1000 * (perf_counter() - started)


if __name__ == "__main__":
    main()
