"""What does `tascel advise` say of several tasks, how long does it take, and is it right?

    python benchmarks/advising.py FOLDER --model M --replay results/replay.json --json OUT.json

FOLDER holds one TASK.jsonl of traces for each task. Each is advised on in a process of its own, as
a user would, with an empty cache of prices: all estimates are those of the built-in price, which
is what `benchmarks/replay.py` measured the test splits with. `advise` passes over the split `test`,
so beside each foretold speed-up of the tokens after the first stands the one that was measured
there. Numbers only: no text of the traces is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from rich.table import Table

from tascel.cli.console import out, plain_table
from tascel.store.file import whole_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--model", help="whose tokenizer and sizes are used")
    parser.add_argument("--replay", type=Path, help="what benchmarks/replay.py wrote")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="only print the table of such a file")
    args = parser.parse_args()
    if args.markdown:
        sys.stdout.write(markdown(json.loads(args.markdown.read_text())["tasks"]) + "\n")
        return
    if not (args.folder and args.model):
        parser.error("FOLDER and --model are needed")
    measured = json.loads(args.replay.read_text())["tasks"] if args.replay else {}
    files = sorted(args.folder.glob("*.jsonl"))
    found = {file.stem: advised(file, args.model, measured.get(file.stem)) for file in files}
    out.print(table(found))
    small = min(files, key=lambda file: file.stat().st_size)
    first = first_run(small, args.model)
    out.print(f"{small.stem} with nothing compiled: {first['seconds']:.0f} s")
    if args.json:
        with whole_file(args.json) as file:
            content = {"model": Path(args.model).name, "cores": os.cpu_count(), "tasks": found}
            content["first_run"] = {"task": small.stem, **first}
            file.write(json.dumps(content, indent=1) + "\n")


def advised(file: Path, model: str, measured: dict[str, Any] | None) -> dict[str, Any]:
    """One task: seconds from start to end, and what is said in numbers."""
    took, content = run(file, model)
    ours = [row for row in (measured or {}).get("drafts", []) if row["name"] == "tascel"]
    return {
        **took,
        **numbers(content),
        "measured_on_test": ours[0]["speedup_estimate"] if ours else None,
    }


def first_run(file: Path, model: str) -> dict[str, float]:
    """Seconds where no kernel has been compiled yet."""
    with TemporaryDirectory() as kernels:
        return run(file, model, NUMBA_CACHE_DIR=kernels)[0]


def run(file: Path, model: str, **environment: str) -> tuple[dict[str, float], dict[str, Any]]:
    """`tascel advise` in a process of its own: seconds by the clock and of processors, and what it
    writes."""
    with TemporaryDirectory() as cache:
        to = Path(cache) / "advice.json"
        command = ["-m", "tascel", "advise", str(file), "--model", model, "--json", str(to)]
        started, before = perf_counter(), os.times()
        there = {**os.environ, "TASCEL_CACHE": cache, **environment}
        subprocess.run([sys.executable, *command], check=True, env=there)
        seconds, after = perf_counter() - started, os.times()
        used = after.children_user - before.children_user
        return {"seconds": seconds, "processor_seconds": used}, json.loads(to.read_text())


def numbers(content: dict[str, Any]) -> dict[str, Any]:
    """What may be kept of advice: no phrases, and nothing that names a place."""
    counts = ("read", "learned", "replayed", "refused", "prompt_tokens", "answer_tokens")
    said, entropy = content["recommendation"], content["entropy"]
    return {
        **{name: content[name] for name in counts},
        "lengths": {n: v for n, v in content["lengths"].items() if n != "histogram"},
        "entropy": {n: v for n, v in entropy.items() if n not in ("task", "paper")},
        **{name: content[name] for name in ("repeated", "copied", "vocabulary")},
        "new_tokens": content["tokens"]["best"],
        "tasks": [task["traces"] for task in content["tasks"]],
        "foretold": content["foretold"],
        "recommendation": {"kind": said["kind"], "steps": [s["kind"] for s in said["steps"]]},
    }


HEADS = (
    "s", "of CPU", "traces", "tokens", "bits in", "out", "said before", "copied", "fewer tokens",
    "tasks", "foretold", "known groups", "on test", "an answer", "advice",
)  # fmt: skip


def rows(found: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The table's cells by task."""
    return {name: _row(one) for name, one in found.items()}


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    told, best = one["foretold"], one["new_tokens"]
    alike, test = told["alike"], one["measured_on_test"]
    return (
        f"{one['seconds']:.0f}",
        f"{one['processor_seconds']:.0f}",
        f"{one['read']:,}",
        f"{one['answer_tokens']:.0f}",
        f"{one['entropy']['bits_in']:.1f}",
        f"{one['entropy']['bits_out']:.1f}",
        _share(one["repeated"]["runs"]["8"]),
        _share(one["copied"]["words"]["2"]),
        "–" if best is None else f"{best['fewer']:.1f}×",
        f"{max(1, len(one['tasks']))}",
        f"{told['decoding_gain']:.2f}×",
        "–" if alike is None else f"{alike['decoding_gain']:.2f}×",
        "–" if test is None else f"{test:.2f}×",
        f"{told['gain']:.1f}×",
        ", ".join(s for s in one["recommendation"]["steps"] if s not in ("measure", "tasks")),
    )


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def table(found: dict[str, Any]) -> Table:
    shown = plain_table("Advice by the built-in price", HEADS)
    for name, cells in rows(found).items():
        shown.add_row(name, *cells)
    return shown


def markdown(found: dict[str, Any]) -> str:
    lines = [("task", *HEADS), ("---", *["--:"] * (len(HEADS) - 1), "---")]
    lines += [(name, *cells) for name, cells in rows(found).items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
