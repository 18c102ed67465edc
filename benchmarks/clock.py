"""Does replay promise what the clock shows? A bench, then a replay of the answers it timed.

    python benchmarks/clock.py NAME TRACES --model M --adapter A --limit 40

Writes results/NAME_bench.json and results/NAME_replay.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

RESULTS = Path(__file__).parents[1] / "results"


def tascel(*args: object) -> None:
    code = "from tascel.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *map(str, args)], check=True)


def ours(content: dict, rows: str) -> dict:
    return next(row for row in content[rows] if row["name"] == "tascel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("traces")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--limit", type=int, default=40)
    args = parser.parse_args()
    files = [RESULTS / f"{args.name}_{what}.json" for what in ("bench", "replay")]
    model = ("--model", args.model, "--adapter", args.adapter)
    some = ("--limit", args.limit, "--max-tokens", 256)
    with TemporaryDirectory() as folder:
        bundle, answers = Path(folder) / "bundle", Path(folder) / "answers.jsonl"
        tascel("build", args.traces, *model, "-o", bundle)
        tascel("bench", bundle, args.traces, *model, *some, "--dtype", "bfloat16",
               "--against", "none", "--answers", answers, "--json", files[0])  # fmt: skip
        price = json.loads(files[0].read_text())["price_file"]
        tascel("replay", bundle, args.traces, *some, "--completions", answers,
               "--price", price, "--against", "tasc-paper", "--json", files[1])  # fmt: skip
    bench, replay = (json.loads(file.read_text()) for file in files)
    measured = ours(bench, "rows")["speedup"]
    promised = ours(replay, "drafts")["speedup_estimate"]
    print(f"measured {measured:.2f}, replayed {promised:.2f}: {measured / promised:.2f}")


if __name__ == "__main__":
    main()
