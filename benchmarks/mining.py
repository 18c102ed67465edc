"""How many tokens new ones save on held-out answers, by settings, and how long mining takes.

    python benchmarks/mining.py TASK.jsonl … --model MODEL --json results/mining.json

Needs a model's tokenizer and config.json, no weights. A fifth of each task's training traces is
held out, none of them similar to one that is mined. Prints the table of docs/new-tokens.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from transformers import AutoTokenizer

from tascel.adapt.tokens.choose import choose
from tascel.adapt.tokens.cost import row_cost
from tascel.adapt.tokens.curve import Point
from tascel.adapt.tokens.mining import MiningConfig, mine
from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.codec import Codec
from tascel.engines.profile import machine
from tascel.token_bytes import TokenBytes
from tascel.traces.read import read_traces

ROWS = 250
SETTINGS = {
    "default": MiningConfig(),
    **{f"alpha {alpha}": MiningConfig(alpha=alpha) for alpha in (0.1, 0.3)},
    **{
        f"formula, alpha {alpha}": MiningConfig(collision="formula", alpha=alpha)
        for alpha in (0.001, 0.005)
    },
    **{f"n_max {n}": MiningConfig(n_max=n) for n in (2, 3, 6, 8)},
    **{f"longest {longest}": MiningConfig(longest=longest) for longest in (8, 16, 64, 128)},
    "words": MiningConfig(cross_words=False),
}
TOKENS, SIZE = 1_000_000, 500  # for the time that mining takes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path, nargs="+", metavar="TASK.jsonl")
    parser.add_argument("--model", required=True)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    codec = Codec.from_pretrained(arguments.model)
    refuse = Vocabulary(AutoTokenizer.from_pretrained(arguments.model)).refuse
    cost = row_cost(arguments.model)
    tasks: dict[str, dict] = {}
    answers = []
    for path in arguments.traces:
        train = [t for t in read_traces(path) if t.split in (None, "train") and t.answer]
        answers += [answer for _, answer in codec.answers(train)]
        found = {
            name: choose(train, codec, refuse, ROWS, cost, config)
            for name, config in SETTINGS.items()
        } | {"auto": choose(train, codec, refuse, None, cost)}
        tasks[path.stem] = {
            name: {
                "rows": len(choice.runs),
                "base": choice.base,
                "shortest": choice.shortest,
                "curve": [asdict(point) for point in shown(name, choice.curve)],
                "refused": dict(choice.reasons),
            }
            for name, choice in found.items()
        }
        print(line(path.stem, tasks[path.stem]), flush=True)
    taken = seconds(answers, codec)
    print(f"{SIZE} tokens from {TOKENS:,}: {taken:.1f} s")
    result = {"machine": machine(), "seconds": taken, "row_cost": cost, "tasks": tasks}
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def shown(name: str, curve: list[Point]) -> list[Point]:
    """The whole curve where it is looked at, else its end."""
    return curve if name in ("default", "auto") else curve[-1:]


def line(task: str, of: dict) -> str:
    """A row of the table: 250 rows, then as many as pay."""
    base, *_, rows = of["default"]["curve"]
    best = min(of["auto"]["curve"], key=lambda point: point["time"])
    cells = (
        task,
        f"{base['tokens']:,}",
        f"{base['tokens'] / rows['tokens']:.2f}×",
        f"{base['longest'] / rows['longest']:.2f}×",
        str(rows["rare"]),
        str(best["rows"]),
        f"{base['tokens'] / best['tokens']:.2f}×",
        f"{of['auto']['base'] / of['auto']['shortest']:.2f}×",
    )
    return f"| {' | '.join(cells)} |"


def seconds(answers: list[np.ndarray], codec: Codec) -> float:
    """What mining takes, compiled, on so many tokens of all tasks."""
    ends = np.cumsum([len(answer) for answer in answers])
    few = answers[: int(np.searchsorted(ends, TOKENS))]
    config = replace(MiningConfig(), size=SIZE)
    mine(few[:100], config, TokenBytes(codec.tokenizer), never=codec.eos_ids)
    start = perf_counter()
    mine(few, config, TokenBytes(codec.tokenizer), never=codec.eos_ids)
    return perf_counter() - start


if __name__ == "__main__":
    main()
