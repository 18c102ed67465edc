"""Traffic that turns into another task, on a real model: how soon do drafts follow?

    python benchmarks/drift_live.py FORMER THEN --model MODEL --json results/drift_live.json

A bundle is built from the train split of FORMER. Prompts of its test split are answered, then those
of THEN, which the bundle has never seen: each by two runners of one model, in turns, of which one
learns from what it answers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from tascel import build, load
from tascel.runner import Runner
from tascel.traces.read import read_traces
from tascel.types import Trace


def prompts(path: str, count: int) -> list[Trace]:
    """Prompts of a test split, spread over it."""
    test = [trace for trace in read_traces(path) if trace.split == "test"]
    return test[:: max(1, len(test) // count)][:count]


def answered(runner: Runner, trace: Trace) -> dict[str, Any]:
    """One answer, and what it took."""
    began = perf_counter()
    done = runner.generate(trace.messages, tools=trace.tools, max_tokens=256)
    return {
        "ids": list(done.tokens),
        "ms": 1000 * (perf_counter() - began),
        "passes": done.stats.steps,
    }


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All answers of both."""
    bundle = build(args.former, args.model, folder / "fixed")
    shutil.copytree(bundle.path, folder / "learning")
    stream = [*prompts(args.former, args.count), *prompts(args.then, args.count)]
    settings: dict[str, Any] = {"model": args.model, "dtype": "bfloat16"}
    rows: list[dict[str, Any]] = []
    with (
        load(bundle.path, **settings) as fixed,
        load(folder / "learning", learn=True, **settings) as learning,
    ):
        for at, trace in enumerate(stream):
            runners = {"fixed": fixed, "learning": learning}
            order = [*runners] if at % 2 else [*runners][::-1]
            row = {name: answered(runners[name], trace) for name in order}
            same = row["fixed"]["ids"] == row["learning"]["ids"]
            rows.append({
                "then": at >= args.count, "tokens": len(row["fixed"]["ids"]), "same": same,
                **{name: {"ms": round(row[name]["ms"], 2), "passes": row[name]["passes"]}
                   for name in runners},
            })  # fmt: skip
            if at % 10 == 9:
                print(f"{at + 1} of {len(stream)} prompts", flush=True)
        stats = learning.draft.stats()  # pyright: ignore[reportOptionalMemberAccess]
        price = {"price_file": fixed.setting.file.name, "step_ms": fixed.price.plain()}
    return {
        "former": Path(args.former).stem, "then": Path(args.then).stem, **price,
        "learner_seconds": round(stats.seconds, 3), "learned": stats.learned,
        "windows": windows(rows, args.window), "answers": rows,
    }  # fmt: skip


def windows(rows: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Medians over `size` answers each."""
    found: list[dict[str, Any]] = []
    for first in range(0, len(rows), size):
        some = rows[first : first + size]
        arms = {
            name: {
                "ms": round(median(row[name]["ms"] for row in some), 1),
                "tokens_per_pass": round(
                    sum(row["tokens"] for row in some) / sum(row[name]["passes"] for row in some), 2
                ),
            }
            for name in ("fixed", "learning")
        }
        ratio = median(row["fixed"]["ms"] / row["learning"]["ms"] for row in some)
        found.append({"first": first, "differ": sum(not row["same"] for row in some),
                      "speedup": round(ratio, 2), **arms})  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("former", help="traces of the task that the bundle knows")
    parser.add_argument("then", help="traces of the task that comes instead")
    parser.add_argument("--model", required=True, help="a model that answers both")
    parser.add_argument("--count", type=int, default=120, help="prompts of each")
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = measure(args, Path(folder))
    if args.json:
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for row in content["windows"]:
        fixed, learning = row["fixed"], row["learning"]
        print(
            f"from {row['first']:>4}: {fixed['ms']:7.1f} ms, learning {learning['ms']:7.1f} ms, "
            f"{row['speedup']:.2f}×; {fixed['tokens_per_pass']:.2f} and "
            f"{learning['tokens_per_pass']:.2f} tokens a pass, {row['differ']} differ"
        )


if __name__ == "__main__":
    main()
