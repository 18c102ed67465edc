"""How much of what drafts earned shall a breaker save up for lean stretches?

    python benchmarks/saved.py FOLDER --model M --json results/saved.json

FOLDER holds one TASK.jsonl of traces for each task. Only training traces are read: one of five
folds, whole groups of alike prompts, is drafted with what some of the other folds teach. `SAVED` in
draft/breaker.py and in plugins/llamacpp/draft.py were chosen by these numbers, and docs/llamacpp.md
shows them. What counts is the passes' time alone, so the numbers are the same on any machine.

    own       the fold's own answers
    turned    from the middle on the next task's answers to these prompts: what those alone cost
    foreign   the next task's answers from the start
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from replay import TASKS, mean

from tascel.bench.examples import examples
from tascel.builder import build
from tascel.bundle import Bundle
from tascel.cli.console import out, plain_table, progress
from tascel.decode.forced import Cost, Entrant, Example, Rules, follow
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price, typical
from tascel.store.file import whole_file
from tascel.traces.folds import folds, groups
from tascel.traces.read import BadLines, read_traces
from tascel.types import Trace

#: Passes of one token that are saved up.
SAVED = (0, 4, 8, 16, 24, 48)
#: SmolLM2-135M under OpenVINO and in llama.cpp on two cores, as `tascel profile` measured it:
#: milliseconds by tokens. In llama.cpp 8-bit weights make width dear, 4-bit ones dearer.
INT8 = {1: 14, 4: 17, 8: 20, 16: 30, 32: 48, 64: 60}
Q8_0 = {
    1: 13.6,
    2: 18.6,
    4: 21.9,
    8: 32.8,
    12: 43.4,
    16: 52.2,
    24: 74.2,
    32: 96.1,
    48: 129,
    64: 170,
}
Q4_1 = {1: 11, 4: 27, 8: 43, 16: 58, 32: 109}
#: What passes cost, and whether the engine checks trees.
PRICES: Mapping[str, tuple[Price, bool]] = {
    "PyTorch": (typical(), True),
    "OpenVINO int8": (Price.from_points(INT8), False),
    "Q8_0": (Price.from_points(Q8_0), False),
    "Q4_1": (Price.from_points(Q4_1), False),
}
#: Of the traces, how many are replayed and how many are learned from at most.
TRIED, LEARNED, FOLDS = 50, 3000, 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="whose tokenizer and template are used")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pairs = zip(args.tasks, args.tasks[1:] + args.tasks[:1], strict=True)
    found = {task: tried(args.folder, task, other, args.model) for task, other in pairs}
    for price in PRICES:
        for answers in ("own", "turned", "foreign"):
            shown(found, price, answers)
    settings = {"model": Path(args.model).name, "tried": TRIED, "learned": LEARNED, "folds": FOLDS}
    if args.json:
        with whole_file(args.json) as file:
            prices = {"OpenVINO int8": INT8, "Q8_0": Q8_0, "Q4_1": Q4_1}
            content = {"settings": settings | {"prices_ms": prices}, "tasks": found}
            file.write(json.dumps(content, indent=1) + "\n")


def tried(folder: Path, task: str, other: str, model: str) -> dict[str, Any]:
    """One task: how many times as fast as plain decoding, by price, answers and passes saved up."""
    traces = training(folder, task)
    held = folds(groups(traces), FOLDS) == 0
    known, learned = drawn(traces, held, TRIED, 0), drawn(traces, ~held, LEARNED, 0)
    others = training(folder, other)
    others = drawn(others, np.ones(len(others), np.bool_), len(known), 1)
    with progress() as show, TemporaryDirectory() as work:
        bundle = build(learned, model, Path(work) / "bundle", progress=show)
        rows = answers(bundle, known, others)
        half = len(rows["own"]) // 2
        by_price: dict[str, Any] = {}
        for name, (price, trees) in PRICES.items():
            by_price[name] = {which: {} for which in rows}
            for done, saved in enumerate(SAVED, start=1):
                show(f"{task} {name}", done, len(SAVED))
                rules = Rules(price, bundle.manifest.vocab_size, trees=trees, saved=saved)
                draft = bundle.draft(DraftConfig(trees=trees, saved=saved))
                for which, examples_ in rows.items():
                    costs = follow({"tascel": Entrant(draft, True)}, examples_, rules)["tascel"]
                    costs = costs[half:] if which == "turned" else costs
                    by_price[name][which][str(saved)] = gain(costs, price)
    return {"answers": len(rows["own"]), "learned": len(learned), "prices": by_price}


def training(folder: Path, task: str) -> list[Trace]:
    traces = read_traces(folder / f"{task}.jsonl")
    return [t for t in traces if t.split in (None, "train") and t.answer is not None]


def drawn(traces: Sequence[Trace], which: np.ndarray, most: int, seed: int) -> list[Trace]:
    """At most so many of those, at random."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(which))
    return [traces[at] for at in order[:most]]


def answers(
    bundle: Bundle, known: Sequence[Trace], others: Sequence[Trace]
) -> dict[str, list[Example]]:
    """Prompts with their own answers, with another task's, and first these and then those. An
    answer of one token comes with the prompt's pass; nothing can be drafted there."""
    bad = BadLines().add
    own = [e for e in examples(bundle.codec, known, bad) if len(e.output) > 1]
    theirs = [e.output for e in examples(bundle.codec, others, bad) if len(e.output) > 1]
    foreign = [Example(e.prompt, output) for e, output in zip(own, theirs, strict=False)]
    half = len(own) // 2
    return {"own": own, "turned": own[:half] + foreign[half:], "foreign": foreign}


def gain(costs: Sequence[Cost], price: Price) -> float:
    """One pass a token over the passes that were needed."""
    plain = float(price.plain()) * sum(cost.tokens for cost in costs)
    return round(plain / sum(cost.pass_ms for cost in costs), 3)


def shown(found: Mapping[str, Any], price: str, answers: str) -> None:
    table = plain_table(f"{price}, {answers}: times as fast", [str(saved) for saved in SAVED])
    rows = {task: row["prices"][price][answers] for task, row in found.items()}
    for task, row in rows.items():
        table.add_row(task, *(f"{row[str(saved)]:.2f}" for saved in SAVED))
    table.add_row("mean", *(mean([row[str(saved)] for row in rows.values()]) for saved in SAVED))
    table.add_row("lowest", *(f"{min(r[str(s)] for r in rows.values()):.3f}" for s in SAVED))
    out.print(table)


if __name__ == "__main__":
    main()
