"""What would drafts save on each of several tasks? Replayed on known answers, with no model run.

    python benchmarks/replay.py FOLDER --model M --json results/replay.json

FOLDER holds one TASK.jsonl of traces for each task. A bundle is built of its training traces, and
every peer's settings are chosen on held-out tenths of them; its defaults run too, as NAME@default.
Our draft runs also without each source, with the trust that was learned with all of them, and with
trust that was learned without it (`relearned:…`: never routed, so to be read beside `pooled` where
tasks were found). Then all walk along at most LIMIT answers of `--split`, drawn at random; answers
that no training trace has verbatim are written apart too, as `unseen`. `--variants learning` runs
our draft as it is and as it learns along the way, and nobody else. `--split tenth` leaves the
other splits closed: one tenth of the training traces, whole groups, is replayed, and everything
else is done with the nine others; `--split near-tenth` holds out by near-duplicates alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from relearned import RELEARNED, relearned
from rich.table import Table

from tascel.bench.examples import examples
from tascel.bench.peers import DEFAULTS, VARIANTS, Settings
from tascel.bench.replay import BUILT_IN, entrants, report
from tascel.bench.tuning import PARTS, tune
from tascel.builder import Progress, build
from tascel.bundle import Bundle
from tascel.cli.console import out, plain_table, progress
from tascel.decode.forced import Cost, Entrant, Example, Rules, follow, speedup
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import typical
from tascel.engines.profile import read_price
from tascel.store.file import whole_file
from tascel.traces.folds import folds, held_out_ways
from tascel.traces.read import BadLines, read_traces
from tascel.types import Trace

TASKS = (
    "home_assistant", "snips", "function_calls", "azure_cli", "sql_advising", "service_calls",
    "nl2bash",
)  # fmt: skip
#: Whom our draft is compared with, answer by answer: by whichever of their settings were faster.
RIVALS = ("suffix-cold", "suffix-warm", "tasc-paper", "tasc-tuned")
#: All tasks but our own demo's are a mean of their own.
DEMO = "home_assistant"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="whose tokenizer and template are used")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=200, help="answers a task")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--price", type=Path, help="a file of `tascel profile`")
    parser.add_argument("--variants", nargs="*", help="only these of ours, and no peers")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for task in args.tasks:
        with progress() as show:
            found[task] = replayed(args.folder / f"{task}.jsonl", args, show)
        tables({task: found[task]})
    if len(found) > 1:
        tables(found)
    if args.variants is None:
        out.print(ratios(found))
    if args.json:
        chosen = {"model": Path(args.model).name, "split": args.split, "limit": args.limit}
        chosen |= {"max_tokens": args.max_tokens, "seed": args.seed, "variants": VARIANTS}
        with whole_file(args.json) as file:
            file.write(json.dumps({"settings": chosen, "tasks": found}, indent=1) + "\n")


def tables(found: Mapping[str, Any]) -> None:
    out.print(table(found, "speedup_estimate", "estimated speed-up"))
    shares = ", ".join(f"{task} {found[task]['unseen']:.0%}" for task in found)
    out.print(table(found, "speedup_unseen", f"over answers not in train: {shares}"))


def replayed(file: Path, args: argparse.Namespace, show: Progress) -> dict[str, Any]:
    """One task: the document of `tascel replay`, and of how many traces it comes."""
    learned, asked = divided([*read_traces(file)], args.split)
    drawn = np.random.default_rng(args.seed).permutation(len(asked))[: args.limit]
    price = typical() if args.price is None else read_price(args.price)
    bad = BadLines()
    with TemporaryDirectory() as folder:
        bundle = build(learned, args.model, Path(folder) / "bundle", progress=show)
        rules = Rules(price, bundle.manifest.vocab_size, max_tokens=args.max_tokens)
        if args.variants is None:
            tuned = tune([*DEFAULTS], bundle, learned, rules, bad.add, show)
            plain = {f"{name}@default": DEFAULTS[name] for name in tuned}
            settings = {**DEFAULTS, **tuned, **plain, **variants(bundle)}
        else:
            settings = {name: VARIANTS[name] for name in args.variants}
        known = examples(bundle.codec, [asked[at] for at in drawn], bad.add)
        ready = entrants(bundle, settings, rules, show)
        ours = ready.pop("tascel")
        for name, (reader, chosen) in ({} if args.variants is not None else RELEARNED).items():
            settings[name] = chosen

            def heard(stage: str, done: int, total: int | None, name: str = name) -> None:
                show(f"{name}: {stage}", done, total)

            taught = relearned(bundle, learned, reader, heard)
            ready[name] = Entrant(taught.draft(DraftConfig(**chosen)), guarded=True)
        ready["tascel"] = ours
        costs = follow(ready, known, rules, lambda n, of: show("replaying", n, of))
    content = report(costs, rules, BUILT_IN if args.price is None else args.price.name, settings)
    content |= {"learned": len(learned), "asked": len(asked), "refused": bad.count}
    return content | unseen(content["drafts"], costs, known, bundle, rules)


def variants(bundle: Bundle) -> dict[str, Settings]:
    """Ours with one thing changed; where there is one task all tasks are pooled anyway."""
    return {n: s for n, s in VARIANTS.items() if bundle.tasks or s.get("routed", True)}


def unseen(
    rows: list[dict[str, Any]],
    costs: Mapping[str, Sequence[Cost]],
    known: Sequence[Example],
    bundle: Bundle,
    rules: Rules,
) -> dict[str, Any]:
    """The share of answers that the bundle has not verbatim; the speed-up over these goes into
    `rows`, None where there is nothing to draft."""
    new = [at for at, example in enumerate(known) if not bundle.corpus.holds(example.output)]
    for row in rows:
        own = [costs[row["name"]][at] for at in new]
        row["speedup_unseen"] = speedup(own, rules) if any(c.tokens for c in own) else None
    return {"unseen": len(new) / len(known)}


def divided(traces: list[Trace], split: str) -> tuple[list[Trace], list[Trace]]:
    """What is learned from, and what may be replayed."""
    train = [trace for trace in traces if trace.split == "train"]
    if split not in ("tenth", "near-tenth"):
        return train, [trace for trace in traces if trace.split == split]
    named, *alike = held_out_ways(train)
    held = folds(named if split == "tenth" or not alike else alike[0], PARTS) == 0
    pairs = [*zip(train, held, strict=True)]
    return [trace for trace, out in pairs if not out], [trace for trace, out in pairs if out]


def table(found: Mapping[str, Any], key: str, title: str) -> Table:
    """What every draft made of every task; a dash where there was nothing to draft."""
    made = plain_table(title, [*found, "mean"])
    rows = {task: {row["name"]: row for row in found[task]["drafts"]} for task in found}
    for name in rows[next(iter(rows))]:
        speedups = [rows[task][name][key] for task in rows]
        cells = ["–" if x is None else f"{x:.2f}×" for x in speedups]
        made.add_row(name, *cells, mean([x for x in speedups if x is not None]))
    return made


def ratios(found: Mapping[str, Any]) -> Table:
    """How many times faster than each rival ours is, with 95 % intervals."""
    made = plain_table("tascel is faster by", [*found, "mean", f"without {DEMO}"])
    for name in RIVALS:
        rows = [faster(name, found[task]["drafts"]) for task in found]
        over = [row["tascel_over_this"] for row in rows]
        spans = ["{:.2f}–{:.2f}".format(*row["interval_against_tascel"]) for row in rows]
        cells = [f"{x:.2f}×\n{span}" for x, span in zip(over, spans, strict=True)]
        others = [x for task, x in zip(found, over, strict=True) if task != DEMO]
        made.add_row(name, *cells, mean(over), mean(others))
    return made


def mean(ratios: Sequence[float]) -> str:
    return f"{geometric_mean(ratios):.2f}×" if ratios else "–"


def faster(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The peer's row, of its chosen settings or of its defaults."""
    own = [row for row in rows if row["name"].partition("@")[0] == name]
    return max(own, key=lambda row: row["speedup_estimate"])


if __name__ == "__main__":
    main()
