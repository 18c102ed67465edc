"""A task that changes: how fast does a bundle recover that learns from what is answered?

    python benchmarks/drift.py FOLDER --model M --json results/drift.json --plot results/drift

FOLDER holds one TASK.jsonl of traces for each task. A bundle is built of one task's split "train".
Then a stream of known answers is replayed, without a model: of the split "test" of that task, and
from the middle on of another's. Along it go

    bundle      the bundle as it was built
    learning    the same, which learns every answer once it is whole
    both        a bundle of both tasks' splits "train", built beforehand: what knowing would give

`recovery` is how many requests after the change a window of 25 first has 80 % of the tokens a pass
that learning has in the last 150. Curves are tokens a pass of such windows; a speed-up is estimated
from them, the price of passes and the time that drafting took here. Learning is replayed on one
thread, so that it can be repeated; what it costs beside a server is measured again with its own
thread, `PACE` apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import numpy as np

from tascel.bench.examples import examples
from tascel.builder import build
from tascel.bundle import Bundle
from tascel.cli.console import out, plain_table, progress
from tascel.codec import Codec
from tascel.decode.forced import Cost, Entrant, Example, Rules, follow, speedup
from tascel.draft.base import Proposal
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import typical
from tascel.engines.profile import machine
from tascel.learning import LearnConfig, Learner, LearningDraft
from tascel.store.file import whole_file
from tascel.traces.read import read_traces
from tascel.types import Request, Trace

PAIRS = ("snips:sql_advising", "clinc150:nl2bash", "azure_cli:service_calls")
#: Requests in a window, and at the end, where learning has settled; of that this much is recovered.
WINDOW, SETTLED, ENOUGH = 25, 150, 0.8
#: Seconds between two answers while the cost of learning is measured.
PACE = 0.02
NAMES = ("bundle", "learning", "both")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="whose tokenizer is used")
    parser.add_argument("--pairs", nargs="*", default=PAIRS, metavar="BEFORE:AFTER")
    parser.add_argument("--split", default="test", help='"train": what no bundle is built of')
    parser.add_argument("--built", type=int, default=2000, help="traces of a task in a bundle")
    parser.add_argument("--requests", type=int, default=550, help="before the change, and after")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="FILE: writes FILE.png and FILE.svg")
    args = parser.parse_args()
    codec = Codec.from_pretrained(args.model)
    found = {
        "price": "typical", "split": args.split, "built": args.built, "window": WINDOW,
        "machine": machine(), "pairs": [],
    }  # fmt: skip
    for pair in args.pairs:
        found["pairs"].append(drift(args, codec, *pair.split(":")))
    table = plain_table("estimated speed-up", HEAD)
    for one in found["pairs"]:
        table.add_row(*row(one))
    out.print(table)
    if args.json:
        with whole_file(args.json) as file:
            file.write(json.dumps(found, indent=1) + "\n")
    if args.plot:
        plot(found, args.plot)


def drift(args: argparse.Namespace, codec: Codec, before: str, after: str) -> dict[str, Any]:
    """One pair of tasks."""
    built, streams = [], []
    for task in (before, after):
        learned, asked = divided(args, task)
        built.append(learned)
        streams.append(examples(codec, asked))
    stream = [*streams[0], *streams[1]]
    rules = Rules(typical(), codec.vocab_size)
    with TemporaryDirectory() as folder:
        bundle = build(built[0], args.model, Path(folder) / "bundle")
        both = build([*built[0], *built[1]], args.model, Path(folder) / "both")
        shutil.copytree(bundle.path, Path(folder) / "learning")
        learning = learner(Path(folder) / "learning", codec, background=False)
        ways = {
            "bundle": Entrant(bundle.draft(), guarded=True),
            "learning": Entrant(learning, guarded=True),
            "both": Entrant(both.draft(), guarded=True),
        }
        with progress() as bar:
            costs = follow(ways, stream, rules, lambda n, of: bar(f"{before}:{after}", n, of))
        learning.close()
        size = sum(file.stat().st_size for file in learned_files(Path(folder) / "learning"))
        shutil.copytree(bundle.path, Path(folder) / "paced")
        cost = paced(learner(Path(folder) / "paced", codec, background=True), streams[1], rules)
    change = len(streams[0])
    curves = {name: [round(level(w), 3) for w in windows(costs[name])] for name in NAMES}
    late = level(costs["learning"][-SETTLED:])
    return {
        "before": before, "after": after, "change": change, "requests": len(stream),
        "speedup": {name: levels(costs[name], change, rules) for name in NAMES},
        "draft_ms_per_answer": {
            name: round(sum(cost.draft_ms for cost in costs[name]) / len(stream), 3)
            for name in NAMES
        },
        "tokens_per_step": {name: levels(costs[name], change) for name in NAMES},
        "recovery": recovery(costs["learning"][change:], late),
        "learned_bytes": size, "cost": cost, "curves": curves,
    }  # fmt: skip


def divided(args: argparse.Namespace, task: str) -> tuple[list[Trace], list[Trace]]:
    """What bundles of a task are built of, and what is asked then, both drawn at random."""
    traces = [*read_traces(args.folder / f"{task}.jsonl")]
    kinds = [[t for t in traces if t.split == split] for split in ("train", args.split)]
    train, asked = ([some[i] for i in np.random.default_rng(0).permutation(len(some))]
                    for some in kinds)  # fmt: skip
    if args.split == "train":
        asked = train[args.built :]
    return train[: args.built], asked[: args.requests]


def learner(path: Path, codec: Codec, background: bool) -> LearningDraft:
    config = DraftConfig()
    learn = LearnConfig(background=background)
    made = Learner(Bundle.open(path, codec), lambda one: one.draft(config), config, learn)
    draft = LearningDraft(made, config)
    draft.start()
    return draft


def learned_files(path: Path) -> list[Path]:
    return [*(path / "learned").glob("*.npz")]


def levels(costs: Sequence[Cost], change: int, rules: Rules | None = None) -> dict[str, float]:
    """The speed-up, or without `rules` tokens a step: before the change, just after, at the end."""
    parts = {
        "before": costs[:change], "first 25": costs[change : change + WINDOW],
        "first 100": costs[change : change + 100], "last 150": costs[-SETTLED:],
    }  # fmt: skip
    return {name: round(level(part, rules), 3) for name, part in parts.items()}


def level(costs: Sequence[Cost], rules: Rules | None = None) -> float:
    if rules is not None:
        return speedup(costs, rules)
    return sum(cost.tokens for cost in costs) / sum(cost.steps for cost in costs)


def windows(costs: Sequence[Cost]) -> list[Sequence[Cost]]:
    return [costs[at : at + WINDOW] for at in range(0, len(costs) - WINDOW + 1, WINDOW)]


def recovery(costs: Sequence[Cost], late: float) -> int | None:
    """After how many requests a window was as good as it gets, nearly."""
    for end in range(WINDOW, len(costs) + 1):
        if level(costs[end - WINDOW : end]) >= ENOUGH * late:
            return end
    return None


def paced(draft: LearningDraft, stream: Sequence[Example], rules: Rules) -> dict[str, float]:
    """What learning takes beside answers that come `PACE` seconds apart, or more: microseconds on
    the thread that decodes when a request begins, more than the bundle alone takes (every second
    request, since what was read of a prompt is remembered), and when its answer has ended, in the
    median and of one in a hundred; processor time in the background for each answer."""
    begun: list[list[float]] = [[], []]
    ended: list[float] = []
    for at, example in enumerate(stream):
        request = Request(str(at), example.prompt)
        if at % 2:
            started = perf_counter()
            alone = draft.learner.base.open(request)
            begun[1].append(perf_counter() - started)
            alone.close()
        started = perf_counter()
        session = draft.open(request)
        if not at % 2:
            begun[0].append(perf_counter() - started)
        session.propose(8, rules.price)
        session.accept(example.output.tolist(), Proposal.nothing(), 0)
        started = perf_counter()
        session.finish("stop")
        ended.append(perf_counter() - started)
        session.close()
        sleep(PACE)
    draft.close()
    stats = draft.stats()
    return {
        "open_us": round(1e6 * (median(begun[0]) - median(begun[1])), 1),
        "finish_us": round(1e6 * median(ended), 1),
        "finish_us_99": round(1e6 * float(np.quantile(ended, 0.99)), 1),
        "background_ms_per_answer": round(1e3 * stats.seconds / stats.learned, 3),
        "indexed": stats.learns,
        "answers": stats.learned,
        "errors": stats.errors,
    }


HEAD = ("before", "bundle, end", "learning, end", "both, end", "recovery")


def row(one: dict[str, Any]) -> tuple[str, ...]:
    ends = [one["speedup"][name]["last 150"] for name in NAMES]
    before = one["speedup"]["learning"]["before"]
    recovered = one["recovery"]
    return (
        f"{one['before']} → {one['after']}", f"{before:.2f}", *(f"{end:.2f}" for end in ends),
        "–" if recovered is None else str(recovered),
    )  # fmt: skip


def plot(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pairs = found["pairs"]
    figure, axes = pyplot.subplots(
        1, len(pairs), figsize=(5 * len(pairs), 3.6), layout="constrained", squeeze=False
    )
    looks = {"bundle": ("#888888", "-"), "learning": ("#0b6fb8", "-"), "both": ("#888888", ":")}
    labels = {
        "bundle": "as built", "learning": "learning online", "both": "built of both tasks",
    }  # fmt: skip
    for axis, one in zip(axes[0], pairs, strict=True):
        for name, (color, style) in looks.items():
            values = one["curves"][name]
            middles = WINDOW * (np.arange(len(values)) + 0.5)
            axis.plot(middles, values, color=color, linestyle=style, label=labels[name])
        axis.axvline(one["change"], color="black", linewidth=0.8)
        axis.set_ylim(bottom=0)
        axis.set_title(f"{one['before']}, then {one['after']}")
        axis.set_xlabel("request")
    axes[0][0].set_ylabel("tokens a pass")
    axes[0][0].legend(loc="upper left", frameon=False)
    matplotlib.rcParams["svg.hashsalt"] = "drift"  # the same picture, the same file
    figure.savefig(path.with_suffix(".png"), dpi=120)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
