"""Prints README's table of numbers from the files in results/.

python benchmarks/table.py
"""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
NAMES = {
    "none": "plain decoding, our loop",
    "transformers": "transformers `generate`",
    "prompt-lookup": "its prompt lookup",
    "tasc-paper": "TASC-spec as published",
    "tascel": "**tascel**",
}


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


if __name__ == "__main__":
    print(table())
