"""Several tasks mixed at random, their labels hidden: does every prompt get the draft that fits it?

    python benchmarks/mixed.py FOLDER --model M --json results/mixed.json

FOLDER holds one TASK.jsonl of traces for each task. Bundles are built of the mixture with the tasks
found, of the mixture with the tasks given, and of each task alone. Known answers of all tasks are
replayed in random order, without a model, by these drafts:

    pooled       the mixture's, taken for one task, without neighbours
    routed       each prompt by the draft of its task, without neighbours
    neighbours   the mixture's, taken for one task, with neighbours
    tascel       both: the default
    labelled     as tascel, but the tasks were given when the bundle was built
    named        as labelled, and each request names its task
    alone        the bundle of the task alone

`draft_accuracy` is how many of the drafted tokens were accepted: in trees, which grow while a token
pays, and (`chain_accuracy`) in chains of 10, whatever they cost. `--split` as in replay.py.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import numpy as np
from replay import TASKS, divided

from tascel.bench.examples import labelled
from tascel.bench.replay import BUILT_IN, report
from tascel.builder import BuildConfig, Progress, build
from tascel.bundle import Bundle
from tascel.cli.console import out, plain_table, progress
from tascel.decode.forced import Cost, Entrant, Example, Rules, follow
from tascel.draft.base import Draft
from tascel.draft.ngram import DraftConfig, NgramSession
from tascel.draft.price import Price, typical
from tascel.engines.profile import machine
from tascel.route.classify import Guess
from tascel.route.draft import RoutedDraft, RoutedSession
from tascel.store.file import whole_file
from tascel.traces.read import BadLines, read_traces
from tascel.types import Ids, Request, Trace

#: What our draft of the mixture is run with.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "pooled": {"routed": False, "neighbours": False},
    "routed": {"neighbours": False},
    "neighbours": {"routed": False},
    "tascel": {},
}
CHAINS: Mapping[str, Any] = {"trees": False, "priced": False, "most": 10}
#: What stands for all tasks together.
ALL = "all"
#: Train prompts of a task that say which clusters are its own.
VOTERS = 500


@dataclass(frozen=True, slots=True)
class Mixture:
    """Traces to learn from and known answers, each with its task's name, both in random order."""

    learned: Sequence[Trace]
    asked: Sequence[Trace]


class Told:
    """A draft whose requests name their task: request i is of `tasks[i]`."""

    def __init__(self, draft: Draft, tasks: Sequence[str]) -> None:
        self.draft, self.tasks = draft, tasks

    def open(self, request: Request) -> NgramSession | RoutedSession:
        return self.draft.open(replace(request, task=self.tasks[int(request.id)]))

    def forget(self) -> None:
        self.draft.forget()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True, help="whose tokenizer and template are used")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=200, help="answers a task")
    parser.add_argument("--most", type=int, help="train traces a task; default all")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    mixture = mixed(args)
    with progress() as show, TemporaryDirectory() as folder:
        bundles = built(mixture, args.model, Path(folder), show)
        content = measured(mixture, bundles, args.max_tokens, show)
    chosen = {
        name: getattr(args, name) for name in ("split", "limit", "most", "max_tokens", "seed")
    }
    content = {"settings": {"model": Path(args.model).name, **chosen}, **content}
    shown(content)
    if args.json:
        with whole_file(args.json) as file:
            file.write(json.dumps(content, indent=1) + "\n")


def mixed(args: argparse.Namespace) -> Mixture:
    """At most so many traces of each task, named after its file, and all of them shuffled."""
    rng = np.random.default_rng(args.seed)

    def some(traces: Sequence[Trace], most: int | None) -> list[Trace]:
        return [traces[at] for at in rng.permutation(len(traces))[:most]]

    learned, asked = list[Trace](), list[Trace]()
    for task in args.tasks:
        traces = [named(trace, task) for trace in read_traces(args.folder / f"{task}.jsonl")]
        known, new = divided(traces, args.split)
        learned += some(known, args.most)
        asked += some(new, args.limit)
    return Mixture(some(learned, None), some(asked, None))


def named(trace: Trace, task: str) -> Trace:
    """Of this task; groups of two tasks are never the same."""
    group = None if trace.group is None else f"{task} {trace.group}"
    return replace(trace, task=task, group=group)


def built(mixture: Mixture, model: str, folder: Path, show: Progress) -> dict[str, Bundle]:
    """Bundles: "found", "given", and one by the name of each task."""

    def make(name: str, traces: Sequence[Trace], tasks: str) -> Bundle:
        def heard(stage: str, done: int, total: int | None) -> None:
            show(f"{name}: {stage}", done, total)

        return build(
            iter(traces), model, folder / name, config=BuildConfig(tasks=tasks), progress=heard
        )

    hidden = [replace(trace, task=None) for trace in mixture.learned]
    made = {"found": make("found", hidden, "find"), "given": make("given", mixture.learned, "auto")}
    for task in sorted({trace.task for trace in mixture.learned}):
        own = [trace for trace in mixture.learned if trace.task == task]
        made[task] = make(task, own, "one")
    return made


def measured(
    mixture: Mixture, bundles: Mapping[str, Bundle], max_tokens: int, show: Progress
) -> dict[str, Any]:
    """All numbers, as they are written."""
    found, given = bundles["found"], bundles["given"]
    bad = BadLines()
    known = [*labelled(found.codec, mixture.asked, bad.add)]
    tasks, examples = [trace.task for trace, _ in known], [example for _, example in known]
    places = {task: [i for i, t in enumerate(tasks) if t == task] for task in sorted({*tasks})}
    rules = Rules(typical(), found.manifest.vocab_size, max_tokens=max_tokens)
    drafts: dict[str, Draft] = {n: found.draft(DraftConfig(**way)) for n, way in WAYS.items()}
    drafts |= {"labelled": given.draft(), "named": Told(given.draft(), tasks)}
    costs = walked(drafts, examples, rules, show, "replaying")
    costs["alone"] = by_themselves(bundles, places, examples, rules, show)
    chains = {n: found.draft(DraftConfig(**way, **CHAINS)) for n, way in WAYS.items()}
    free = replace(rules, price=Price.free(), trees=False)
    in_chains = walked(chains, examples, free, show, "replaying chains")
    places[ALL] = [*range(len(tasks))]
    return {
        "machine": machine(),
        "learned": len(mixture.learned),
        "refused": bad.count,
        "routing": routing(found, mixture, known),
        "routing_labelled": routing(given, mixture, known),
        "tasks": {task: document(costs, in_chains, at, rules) for task, at in places.items()},
    }


def walked(
    drafts: Mapping[str, Draft], examples: Sequence[Example], rules: Rules, show: Progress, say: str
) -> dict[str, list[Cost]]:
    ready = {name: Entrant(draft, guarded=True) for name, draft in drafts.items()}
    return follow(ready, examples, rules, lambda n, of: show(say, n, of))


def by_themselves(
    bundles: Mapping[str, Bundle],
    places: Mapping[str, Sequence[int]],
    examples: Sequence[Example],
    rules: Rules,
    show: Progress,
) -> list[Cost]:
    """Each task's answers by its own bundle, under a breaker of its own: as many servers."""
    costs = [Cost()] * len(examples)
    for task, at in places.items():
        draft = bundles[task].draft()
        own = walked({task: draft}, [examples[i] for i in at], rules, show, f"replaying {task}")
        for i, cost in zip(at, own[task], strict=True):
            costs[i] = cost
    return costs


def document(
    costs: Mapping[str, Sequence[Cost]],
    in_chains: Mapping[str, Sequence[Cost]],
    at: Sequence[int],
    rules: Rules,
) -> dict[str, Any]:
    """What `tascel replay` writes, of some answers, with draft accuracies and their gains over
    `pooled` in percent."""
    some = {name: [own[i] for i in at] for name, own in costs.items()}
    content = report(some, rules, BUILT_IN, WAYS)
    for row in content["drafts"]:
        row["draft_accuracy"] = accuracy(some[row["name"]])
        row["accuracy_gain"] = gain(row["draft_accuracy"], accuracy(some["pooled"]))
        if own := in_chains.get(row["name"]):
            row["chain_accuracy"] = accuracy([own[i] for i in at])
            pooled = accuracy([in_chains["pooled"][i] for i in at])
            row["chain_accuracy_gain"] = gain(row["chain_accuracy"], pooled)
    return content


def accuracy(costs: Sequence[Cost]) -> float:
    """The share of drafted tokens that were accepted."""
    return sum(c.accepted.total() for c in costs) / max(1, sum(c.offered for c in costs))


def gain(over: float, under: float) -> float:
    return 100 * (over / max(under, 1e-9) - 1)


def routing(
    bundle: Bundle, mixture: Mixture, known: Sequence[tuple[Trace, Example]]
) -> dict[str, Any]:
    """Where prompts go, and how long that takes, reading included.

    `accuracy`: to a cluster most of whose train prompts are of their task. `with_their_task`: to
    the cluster that most train prompts of their task go to; where tasks share a cluster, this says
    more. Both count `unknown` prompts by the likeliest cluster.
    """
    draft = bundle.draft()
    if not isinstance(draft, RoutedDraft):
        return {"clusters": 1}

    def guess(prompt: Ids) -> Guess:
        return draft.classifier.classify(bundle.reader.about(prompt))

    votes = voted(bundle, mixture, guess)
    owners = [max(vote, key=vote.__getitem__) if vote else None for vote in votes]
    homes = {task: int(np.argmax([vote[task] for vote in votes])) for task in sum(votes, Counter())}
    guesses, taken = list[Guess](), list[float]()
    for _, example in known:
        start = perf_counter_ns()
        guesses.append(guess(example.prompt))
        taken.append((perf_counter_ns() - start) / 1e3)
    task = np.array([trace.task for trace, _ in known])
    right = np.array([owners[g.task] for g in guesses]) == task
    home = np.array([g.task for g in guesses]) == np.array([homes[t] for t in task])
    unknown = np.array([g.unknown for g in guesses])
    return {
        "clusters": len(bundle.tasks),
        "names": {t.name: owner for t, owner in zip(bundle.tasks, owners, strict=True)},
        "accuracy": float(right.mean()),
        "accuracy_of_known": float(right[~unknown].mean()),
        "with_their_task": float(home.mean()),
        "unknown": float(unknown.mean()),
        "by_task": {
            str(t): {
                "accuracy": float(right[task == t].mean()),
                "with_their_task": float(home[task == t].mean()),
                "unknown": float(unknown[task == t].mean()),
            }
            for t in np.unique(task)
        },
        "median_us": float(np.median(taken)),
        "p99_us": float(np.quantile(taken, 0.99)),
    }


def voted(bundle: Bundle, mixture: Mixture, guess: Callable[[Ids], Guess]) -> list[Counter[str]]:
    """The train prompts in each cluster by their task, as far as `VOTERS` of each task tell."""
    votes = [Counter[str]() for _ in bundle.tasks]
    sizes, heard = Counter(trace.task for trace in mixture.learned), Counter[str]()
    for trace in mixture.learned:
        heard[trace.task] += 1
        if heard[trace.task] <= VOTERS:
            at = guess(bundle.codec.prompt(trace.messages, trace.tools)).task
            votes[at][trace.task] += sizes[trace.task] / min(VOTERS, sizes[trace.task])
    return votes


def shown(content: Mapping[str, Any]) -> None:
    """Tables for people."""
    tasks = content["tasks"]
    rows = {task: {row["name"]: row for row in tasks[task]["drafts"]} for task in tasks}
    for key, title, form in (
        ("speedup_estimate", "estimated speed-up", "{:.2f}×"),
        ("tokens_per_step", "tokens a pass", "{:.2f}"),
        ("draft_accuracy", "accepted of drafted", "{:.1%}"),
        ("accuracy_gain", "the same over pooled, in percent", "{:+.0f}"),
        ("chain_accuracy", "accepted of drafted, in chains of 10", "{:.1%}"),
        ("chain_accuracy_gain", "the same over pooled, in percent", "{:+.0f}"),
        ("tascel_over_this", "tascel is faster by", "{:.3f}×"),
    ):
        made = plain_table(title, [*rows, "mean of tasks"] if "×" in form else [*rows])
        for name in rows[ALL]:
            if key not in rows[ALL][name]:
                continue
            cells = [rows[task][name][key] for task in rows]
            if "×" in form:
                cells.append(geometric_mean(cells[:-1]))
            made.add_row(name, *(form.format(cell) for cell in cells))
        out.print(made)
    for name in ("routing", "routing_labelled"):
        out.print(f"\n{name}: {json.dumps(content[name], indent=1)}", markup=False)


if __name__ == "__main__":
    main()
