"""Neural drafts beside n-grams, task by task: TaskSpec's table (arXiv 2505.08600), on our models.

    tascel build TRACES --model M -o BUNDLE
    tascel distill BUNDLE TRACES --model M --layers 4 --keep-all
    python benchmarks/neural.py BUNDLE TRACES --model M --layers 4 --json FILE

Five ways to draft, on the same prompts of the split `test`, one at a time, each prompt by all
before the next, who begins changing: `none`; `generic`, one neural draft for all tasks; `own`, that
of the prompt's task; `n-grams`, of the prompt's task; `both`, its n-grams and its neural draft
behind one another; `choice`, what the bundle's policies choose, as it is served. All run the same
loop and none has a breaker but `choice`, so that a way is seen as it is.

`chain_first` and `chain_accepted` are as publications count: chains of four tokens at every pass,
whatever they cost, along the model's own answers. Everything else is of the timed runs, in which a
draft grows while it pays. Router times are of the classification alone, reading included.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from rich.progress import track

from tascel.adapt.distill.judge import fixed, fixed_ngrams, hits
from tascel.adapt.distill.lessons import Pair
from tascel.bench.bootstrap import interval
from tascel.bench.compare import Round, interleave, setting
from tascel.bench.contenders import Answer
from tascel.bench.prompts import prompts, requests
from tascel.decode.loop import complete
from tascel.draft.base import Draft, Proposal, Session
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price
from tascel.engines.hf.layers import keep_layers, with_changes
from tascel.engines.hf.shelf import Shelf
from tascel.loading import load
from tascel.neural import adapter_folder
from tascel.route.draft import UNKNOWN, Lane, RoutedDraft
from tascel.route.extend import ExtendedDraft
from tascel.route.policy import Policy
from tascel.runner import Runner
from tascel.types import Request

ALL = "all"


@dataclass
class Counts:
    """Passes that a way offered something in, and what of it was right."""

    drafted: int = 0
    first: int = 0
    offered: int = 0
    accepted: int = 0
    choices: dict[str, int] = field(default_factory=dict)


class Watched:
    """A draft whose hits are counted, by the task in `now`."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.now = draft, ALL
        self.counts: dict[str, Counts] = defaultdict(Counts)

    def open(self, request: Request) -> Watch:
        return Watch(self.counts[self.now], self.draft.open(request))


class Watch:
    def __init__(self, counts: Counts, inner: Session) -> None:
        self.counts, self.inner = counts, inner
        self.task = getattr(inner, "task", None)

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        return self.inner.propose(room, price, pending)

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        self.counts.drafted += bool(len(offered))
        self.counts.first += bool(taken)
        self.counts.offered += len(offered)
        self.counts.accepted += taken
        self.inner.accept(tokens, offered, taken)

    def close(self) -> None:
        self.inner.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("traces")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--limit", type=int, help="so many prompts, drawn at random")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--split", default="test")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    runner = load(
        args.bundle, model=args.model, adapter=args.adapter, dtype=args.dtype, head="full"
    )
    found = requests(runner, prompts(args.traces, args.split), max_tokens=args.max_tokens)
    random.Random(0).shuffle(found)
    asked = [request for _, request in found[: args.limit]]
    content = measured(runner, asked, args.layers)
    content["task"] = Path(args.traces).stem
    content["layers"] = args.layers
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    shown(content)


def measured(runner: Runner, asked: Sequence[Request], layers: int) -> dict[str, Any]:
    shelf, at = on_shelf(runner, layers)
    tasks, times = routed(runner, asked)
    ways = {name: Watched(draft) for name, draft in made(runner, shelf, at, layers).items()}
    served = runner.draft
    runner.draft = ways["choice"]

    def run(name: str) -> Callable[[Request], Answer]:
        def answer(request: Request) -> Answer:
            if name == "none":
                return told(runner, request, plain=True)
            ways[name].now = tasks[request.id]
            draft = None if name == "choice" else ways[name]
            return told(runner, request, draft=draft)

        return answer

    for way in ways.values():  # loads what is loaded lazily, and compiles
        told(runner, asked[0], draft=way)
        way.counts.clear()
    bar = iter(track(range(len(asked)), "answering"))
    rounds = interleave(
        runner, {name: run(name) for name in ("none", *ways)}, asked, lambda *_: next(bar)
    )
    runner.draft = served
    places: dict[str, list[int]] = {ALL: [*range(len(asked))]}
    for i, request in enumerate(asked):
        places.setdefault(tasks[request.id], []).append(i)
    neural = runner.bundle.neural
    return {
        **setting(runner),
        "prompts": len(asked),
        "router_us": times,
        "step_ms": {
            neural.drafts[i].name: neural.drafts[i].price(runner.price).plain() for i in at.values()
        },
        "bytes": shelf.held,
        "tasks": {
            task: {
                "prompts": len(some),
                "ways": [
                    row(name, [rounds[i] for i in some], task, ways) for name in rounds[0]
                ],
                "chains": chains(runner, [(asked[i], rounds[i]["none"]) for i in some], task, at),
            }
            for task, some in places.items()
        },
    }  # fmt: skip


def on_shelf(runner: Runner, layers: int) -> tuple[Shelf, dict[str | None, int]]:
    """The bundle's neural drafts, and which of them have so many layers: the generic one's number
    under None, a task's own under its name."""
    bundle = runner.bundle
    neural = bundle.neural if bundle is not None else None
    if neural is None or not neural.drafts:
        raise SystemExit("the bundle has no neural drafts: `tascel distill --keep-all` stores them")
    names = {task.name: f"{task.name}-{layers}" for task in bundle.tasks}
    wanted = {None: f"generic-{layers}", **names}
    known = {draft.name: at for at, draft in enumerate(neural.drafts)}
    at = {task: known[name] for task, name in wanted.items() if name in known}
    if None not in at:
        raise SystemExit(f"no draft of {layers} layers is stored, only {sorted(known)}")
    shelf = Shelf(
        runner.model, neural, bundle.path, runner.price, runner.engine.vocab_size,
        most_bytes=8 << 30, cache_tokens=runner.engine.cache_tokens,
    )  # fmt: skip
    for number in at.values():  # several ways ask the same one: none may find the prompt read
        draft = shelf.get(number)
        if draft is None:
            raise SystemExit(f"the draft {neural.drafts[number].name} cannot be made")
        draft.engine.prefixes = False
    return shelf, at


def made(
    runner: Runner, shelf: Shelf, at: Mapping[str | None, int], layers: int
) -> dict[str, Draft]:
    """The ways to draft but none."""
    bundle = runner.bundle
    ngrams = bundle.draft()
    generic = shelf.draft(at[None])
    if not isinstance(ngrams, RoutedDraft):
        both = ExtendedDraft(ngrams, generic)
        return {"generic": generic, "n-grams": ngrams, "both": both, "choice": runner.draft}

    def lanes(draft: Callable[[Lane], Draft]) -> RoutedDraft:
        single = [Lane(lane.name, (draft(lane),), Free(())) for lane in ngrams.lanes]
        return RoutedDraft(ngrams.pooled, single, ngrams.classifier)

    def own(lane: Lane) -> Any:
        return shelf.draft(at[lane.name]) if lane.name in at else generic

    def first(lane: Lane) -> NgramDraft:
        return lane.drafts[lane.policy.choose(runner.price)]

    return {
        "generic": generic,
        "own": lanes(own),
        "n-grams": lanes(first),
        "both": lanes(lambda lane: ExtendedDraft(first(lane), own(lane))),
        "choice": runner.draft,
    }


class Free(Policy):
    """Rests nobody."""

    def choose(self, price: Price | None) -> int:
        return 0

    def allows(self, price: Price) -> bool:
        return True


def told(
    runner: Runner, request: Request, draft: Draft | None = None, plain: bool = False
) -> Answer:
    done = complete(runner.run(request, draft=draft, plain=plain))
    stats = done.stats
    return Answer(
        done.tokens, stats.prefill_seconds, stats.decode_seconds, stats.steps, stats.accepted,
        done.sources, stats.task, stats.offered,
    )  # fmt: skip


def routed(runner: Runner, asked: Sequence[Request]) -> tuple[dict[str, str], dict[str, float]]:
    """Each request's task, and the microseconds that it took to tell."""
    draft = runner.bundle.draft()
    if not isinstance(draft, RoutedDraft):
        return {request.id: ALL for request in asked}, {}
    found, taken = {}, []
    for request in asked:
        started = perf_counter()
        lane = draft.lane(request)
        taken.append(1e6 * (perf_counter() - started))
        found[request.id] = lane.name if lane is not None else UNKNOWN
    return found, {"median": median(taken), "p99": float(np.quantile(taken, 0.99))}


def row(
    name: str, rounds: Sequence[Round], task: str, ways: Mapping[str, Watched]
) -> dict[str, Any]:
    """One way on one task's prompts; times are medians and sums of whole answers."""
    own, plain = [r[name] for r in rounds], [r["none"] for r in rounds]
    ms = [1000 * (a.prefill_seconds + a.decode_seconds) for a in own]
    base = [1000 * (a.prefill_seconds + a.decode_seconds) for a in plain]
    decode = [1000 * a.decode_seconds for a in own]
    tokens = sum(len(a.tokens) for a in own)
    result = {
        "name": name,
        "ms_a_answer": median(ms),
        "decode_ms_a_answer": median(decode),
        "speedup": sum(base) / sum(ms),
        "interval": [*interval(base, ms)],
        "tokens_per_pass": tokens / sum(a.steps for a in own),
        "mismatches": sum(a.tokens != b.tokens for a, b in zip(own, plain, strict=True)),
        "neural_share": sum(a.drafted.get("neural", 0) for a in own) / tokens,
    }
    if name in ways:
        by_task = ways[name].counts
        some = [*by_task.values()] if task == ALL else [by_task[task]]
        drafted, first, offered, accepted = (
            sum(getattr(counts, what) for counts in some)
            for what in ("drafted", "first", "offered", "accepted")
        )
        result |= {
            "first": first / max(drafted, 1),
            "accepted": accepted / max(offered, 1),
            "drafted_passes": drafted / sum(a.steps for a in own),
        }
    return result


def chains(
    runner: Runner,
    answered: Sequence[tuple[Request, Answer]],
    task: str,
    at: Mapping[str | None, int],
) -> dict[str, dict[str, float]]:
    """Chains of four along the model's own answers, by each draft that may serve the task; of all
    tasks together only the generic one is one draft."""
    pairs = [Pair(request.prompt, np.array(a.tokens, np.int32)) for request, a in answered]
    size, found = runner.engine.vocab_size, {}
    for name, key in (("generic", None), ("own", task)):
        if key in at:
            facts = runner.bundle.neural.drafts[at[key]]
            cut = keep_layers(runner.model, range(facts.layers))
            model = with_changes(cut, adapter_folder(runner.bundle.path, at[key]))
            found[name] = fixed(hits(model, pairs, size))
    ngrams = runner.bundle.draft()
    if isinstance(ngrams, RoutedDraft):
        mine = [lane.drafts[0] for lane in ngrams.lanes if lane.name == task]
        ngrams = mine[0] if mine else ngrams.pooled
    found["n-grams"] = fixed_ngrams(ngrams, pairs, size)
    return {name: {"first": made.first, "accepted": made.accepted} for name, made in found.items()}


def shown(content: Mapping[str, Any]) -> None:
    for task, found in content["tasks"].items():
        print(f"\n{task}: {found['prompts']} prompts")
        for way in found["ways"]:
            chain = found["chains"].get(way["name"])
            of_four = (
                f"first {chain['first']:.1%}  of four {chain['accepted']:.1%}" if chain else ""
            )
            print(
                f"  {way['name']:8} {way['speedup']:.2f}× ({way['interval'][0]:.2f}–"
                f"{way['interval'][1]:.2f})  {way['tokens_per_pass']:.2f} a pass  "
                f"differ {way['mismatches']}  {of_four}"
            )
    print("\nrouter:", content["router_us"])


if __name__ == "__main__":
    main()
