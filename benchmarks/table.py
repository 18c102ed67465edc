"""Prints the tables of numbers in README.md and docs/ from the files in results/.

python benchmarks/table.py short      README.md's: engines side by side, milliseconds only
python benchmarks/table.py            docs/numbers.md's: the model's own answers, timed
python benchmarks/table.py batches    docs/numbers.md's second: many at a time
python benchmarks/table.py replay     docs/numbers.md's third: known answers, replayed
python benchmarks/table.py all        docs/draft.md's: the same with every rule
python benchmarks/table.py tokens     docs/new-tokens.md's: models with new tokens
python benchmarks/table.py tailored   docs/tailor.md's: heads with rows for one task
python benchmarks/table.py corners    docs/tailor.md's: drafts, new tokens, heads
python benchmarks/table.py vllm       docs/vllm.md's: vLLM's own drafts and ours
python benchmarks/table.py neural     docs/neural.md's: neural drafts beside n-grams, by task
python benchmarks/table.py bridge     docs/bridge.md's: a large model, a small one, and both
python benchmarks/table.py engines    docs/openvino.md's: engines side by side, with and without
python benchmarks/table.py saved      docs/llamacpp.md's: what breakers save up
python benchmarks/table.py again      docs/openvino.md's second one: the quickest of them once more
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from statistics import geometric_mean

import table_engines
import table_models

RESULTS = Path(__file__).parents[1] / "results"
NAMES = {
    "none": "plain decoding, our loop",
    "transformers": "transformers `generate`",
    "prompt-lookup": "its prompt lookup",
    "tasc-paper": "TASC-spec as published",
    "tascel": "**tascel**",
}
DRAFTS = {
    "prompt-lookup": "prompt lookup (transformers)",
    "suffix-cold": "suffix decoding as vLLM starts it, learning",
    "suffix-warm": "suffix decoding warmed with the corpus",
    "tasc-paper": "TASC-spec as published",
    "tasc-tuned": "TASC-spec, tuned",
    "rule:backoff": "our index and growth, rule `backoff`",
    "rule:longest": "rule `longest`",
    "rule:best": "rule `best`",
    "rule:interpolate": "rule `interpolate`",
    "rule:interpolate-24": "rule `interpolate`, 24-grams seen once",
    "relearned:neither": "tascel, neither neighbours nor slots",
    "relearned:no-neighbours": "tascel without neighbours",
    "relearned:no-slots": "tascel without slots",
    "chain": "tascel, chains only",
    "tascel": "**tascel**",
}
LEADS = {"suffix-warm": "warmed suffix decoding", "tasc-paper": "TASC-spec"}


def line(label: str, row: dict) -> str:
    low, high = row["interval"]
    cells = (
        label,
        f"{row['tokens_per_second']:.1f}",
        f"{row['speedup']:.2f}×",
        f"{row['speedup_total']:.2f}× ({low:.2f}–{high:.2f})",
        f"{row['tokens_per_step']:.2f}",
        f"{row['drafted_share']:.0%}",
        "yes" if row["identical"] else f"{row['mismatches']} differ",
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    content = json.loads((RESULTS / "home_assistant_bf16.json").read_text(encoding="utf-8"))
    unseen = content["unseen"]
    lines = [
        f"| {content['examples']} held-out commands | tokens/s | speed-up | total (95 %) | "
        "tokens a pass | drafted | same answers |",
        "|---|---:|---:|---:|---:|---:|---|",
        *(line(NAMES[row["name"]], row) for row in content["rows"]),
        *(
            line(f"tascel, the {unseen['examples']} answers not in train", row)
            for row in unseen["rows"]
            if row["name"] == "tascel"
        ),
    ]
    return "\n".join(lines)


def batches() -> str:
    """Whole runs over batches, a column pair for each file."""
    files = [f"home_assistant_batch_{which}.json" for which in ("8", "16", "500")]
    found = [json.loads((RESULTS / name).read_text(encoding="utf-8")) for name in files]
    heads = [f"{c['examples']} prompts, {c['rows_at_once']} at a time" for c in found]
    lines = [f"| tokens/s (speed-up) | {' | '.join(heads)} |", f"|---|{'---:|' * len(found)}"]
    for at, name in enumerate(row["name"] for row in found[0]["rows"]):
        rows = [content["rows"][at] for content in found]
        cells = [f"{row['tokens_per_second']:.0f} ({row['speedup']:.2f}×)" for row in rows]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def along_the_way() -> list[float]:
    """What the same answers bring a bundle that learns each of them when it is whole."""
    found = json.loads((RESULTS / "replay_learning.json").read_text(encoding="utf-8"))["tasks"]
    rows = [row for task in found.values() for row in task["drafts"]]
    return [row["speedup_estimate"] for row in rows if row["name"] == "learning"]


def replayed(names: Collection[str]) -> str:
    """The drafts' estimated speed-up by task, and tascel's lead over two of them."""
    tasks = json.loads((RESULTS / "replay.json").read_text(encoding="utf-8"))["tasks"]
    rows = [{row["name"]: row for row in found["drafts"]} for found in tasks.values()]
    lines = [
        f"| estimated speed-up | {' | '.join(tasks)} | mean |",
        f"|---|{'---:|' * (len(tasks) + 1)}",
        *(
            means(label, [row[name]["speedup_estimate"] for row in rows])
            for name, label in DRAFTS.items()
            if name in names
        ),
        means("**tascel, learning online**", along_the_way()),
        *(
            means(f"tascel over {label}", [over(row, name) for row in rows])
            for name, label in LEADS.items()
        ),
    ]
    return "\n".join(lines)


def replay() -> str:
    """Without the rules that were only tried; and over answers that no training trace has."""
    tasks = json.loads((RESULTS / "replay.json").read_text(encoding="utf-8"))["tasks"]
    rows = [{row["name"]: row for row in found["drafts"]} for found in tasks.values()]
    unseen = {
        "tascel": "tascel, answers not in train",
        "suffix-warm": "warmed suffix decoding, the same answers",
    }
    return "\n".join(
        [
            replayed([name for name in DRAFTS if not name.startswith("rule:")]),
            *(
                means(label, [row[name]["speedup_unseen"] for row in rows])
                for name, label in unseen.items()
            ),
        ]
    )


def over(rows: dict, name: str) -> float:
    """How many times faster ours is than the better of a peer's tuned settings and its defaults."""
    return min(row["tascel_over_this"] for n, row in rows.items() if n in (name, f"{name}@default"))


def means(label: str, values: list[float]) -> str:
    cells = [f"{value:.2f}" for value in [*values, geometric_mean(values)]]
    return f"| {label} | {' | '.join(cells)} |"


if __name__ == "__main__":
    tables = {
        "batches": batches,
        "replay": replay,
        "all": lambda: replayed(DRAFTS),
        "tokens": table_models.tokens,
        "tailored": table_models.tailored,
        "corners": table_models.corners,
        "vllm": table_engines.vllm,
        "bridge": table_models.bridge,
        "neural": table_models.neural,
        "engines": table_engines.engines,
        "short": table_engines.short,
        "again": table_engines.again,
        "saved": table_engines.saved,
    }
    print(tables.get(sys.argv[-1], table)())
