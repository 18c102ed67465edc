"""What a tailored vocabulary brings on one task: memory, load time, speed, score.

    tascel build TRACES --model M -o BUNDLE && tascel tailor TRACES --model M --bundle BUNDLE
    python benchmarks/tailored.py BUNDLE TRACES --model M [--adapter A] --json FILE

Four heads: the full one; the selection alone; the selection with the prompt's ids, which is
VocabTailor as published; lossless. Of the split `test`, in a fixed random order:

- memory and load time are of fresh processes, `--loads` for each head, that answer `--weighed`
  prompts without drafts; the page cache is warm. `file` is what is resident of mapped files,
  `checkpoint` the model's part of it, `anonymous` all that is no file.
- `--scored` prompts are answered in batches without drafts, for the score and the misses.
- `--timed` prompts are answered one at a time, with drafts and without: every head answers each
  prompt before the next one.
`tailored_exact.py` asks whether lossless answers are those of the full head.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from new_tokens import ROWS, mean, text
from rich.progress import track
from scores import difference, exact, f1

from tascel.bench.bootstrap import interval
from tascel.decode.loop import complete
from tascel.engines.hf.head import Head
from tascel.loading import load
from tascel.runner import Runner
from tascel.traces.read import read_traces
from tascel.types import Completion, Request, Sampling, Trace

HEADS = ("full", "static", "fast", "lossless")


@dataclass(frozen=True)
class Setup:
    """What all parts load and ask."""

    bundle: str
    model: str
    adapter: str | None
    max_tokens: int
    dtype: str

    def load(self, head: str, drafts: bool) -> Runner:
        """The runner with one of `HEADS`."""
        runner = load(
            self.bundle, model=self.model, adapter=self.adapter, dtype=self.dtype,
            head="fast" if head == "static" else head, drafts=drafts,
        )  # fmt: skip
        if head == "static":  # prompts bring nothing
            runner.model.get_output_embeddings().join = lambda ids, pinned: []
        return runner

    def requests(
        self, runner: Runner, traces: Sequence[Trace], sampling: Sampling | None = None
    ) -> list[Request]:
        """Numbered; sampled ones each with a seed of its own."""
        sampling = sampling or Sampling()
        return [
            replace(
                runner.request(
                    trace.messages,
                    tools=trace.tools,
                    sampling=replace(sampling, seed=at),
                    max_tokens=self.max_tokens,
                ),
                id=str(at),
            )
            for at, trace in enumerate(traces)
        ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--loads", type=int, default=3)
    parser.add_argument("--weighed", type=int, default=10)
    parser.add_argument("--timed", type=int, default=60)
    parser.add_argument("--scored", type=int, default=500)
    args = parser.parse_args()
    setup = Setup(args.bundle, args.model, args.adapter, args.max_tokens, args.dtype)
    test = shuffled(args.traces)

    weights = {h: weigh(setup, h, test[: args.weighed], args.loads) for h in HEADS}
    runners = {head: setup.load(head, drafts=True) for head in HEADS}
    selection = runners["full"].bundle.selection
    report: dict[str, Any] = {
        "task": args.traces.stem,
        "model": runners["full"].setting.model,
        "dtype": args.dtype,
        "device": f"{runners['full'].setting.device}, {runners['full'].setting.machine}",
        "rows": len(runners["full"].model.get_output_embeddings().weight),
        "selected": len(selection.ids),
        "tolerance": selection.tolerance,
        "calibrated_misses": selection.misses,
    }
    scored = test[: args.scored]
    report["scored"] = len(scored)
    said = {h: answer_all(undrafted(r), setup.requests(r, scored)) for h, r in runners.items()}
    lacking = misses(said["full"], setup.requests(runners["full"], scored), selection.ids)
    judged = scores(runners["full"], said, scored)
    rounds = interleave(setup, runners, test[: args.timed])
    report["timed"] = len(rounds)
    full = weights["full"]["vocabulary_bytes"]
    report["heads"] = [
        {
            "head": head,
            **weights[head],
            "vocabulary_saved": 1 - weights[head]["vocabulary_bytes"] / full,
            **judged[head],
            **lacking.get(head, {}),
            "plain": timings(rounds, head, False),
            "drafted": timings(rounds, head, True),
        }
        for head in HEADS
    ]
    print(json.dumps(report, indent=2))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def arguments(doc: str) -> argparse.ArgumentParser:
    """What every script about heads is told."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("bundle")
    parser.add_argument("traces", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--json", type=Path)
    return parser


def shuffled(file: Path) -> list[Trace]:
    """The split `test` in a fixed random order."""
    test = [t for t in read_traces(file) if t.split == "test"]
    random.Random(0).shuffle(test)
    return test


def weigh(setup: Setup, head: str, traces: Sequence[Trace], loads: int) -> dict[str, Any]:
    """What fresh processes measured: medians."""
    found: list[dict[str, float]] = []
    for _ in track(range(loads), f"loading, {head}"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found.append(pool.submit(_weigh, setup, head, traces).result())
    return {name: median(each[name] for each in found) for name in found[0]}


def _weigh(setup: Setup, head: str, traces: Sequence[Trace]) -> dict[str, float]:
    seen = {"before": memory()}
    started = perf_counter()
    runner = setup.load(head, drafts=False)
    seconds = perf_counter() - started
    seen["loaded"] = memory()
    for request in setup.requests(runner, traces):
        complete(runner.run(request))
    seen["answered"] = memory()
    return {
        "vocabulary_bytes": vocabulary(runner),
        "load_seconds": seconds,
        **{f"{kind}_{when}": size for when, each in seen.items() for kind, size in each.items()},
    }


def memory() -> dict[str, float]:
    """Bytes of this process: resident ones by kind, the peak of both kinds together, and what lies
    on the GPU."""
    status = Path("/proc/self/status").read_text()
    found = {
        kind: 1024.0 * int(re.search(rf"{field}:\s+(\d+) kB", status)[1])
        for kind, field in (("anonymous", "RssAnon"), ("file", "RssFile"), ("peak", "VmHWM"))
    }
    found["checkpoint"] = 0.0
    mapped = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            mapped = line
        elif line.startswith("Rss:") and mapped.endswith(".safetensors"):
            found["checkpoint"] += 1024.0 * int(line.split()[1])
    if torch.cuda.is_available():
        found["gpu"] = float(torch.cuda.memory_allocated())
        found["gpu_peak"] = float(torch.cuda.max_memory_allocated())
    return found


def vocabulary(runner: Runner) -> int:
    """Bytes of the embedding and the head where the model computes, spare rows included."""
    head = runner.model.get_output_embeddings()
    if isinstance(head, Head):
        return head.bytes
    weights = (runner.model.get_input_embeddings().weight, head.weight)
    return sum({weight.data_ptr(): weight.nbytes for weight in weights}.values())


def undrafted(runner: Runner) -> Runner:
    """The same without drafts; a reduced head still runs ahead of the whole one."""
    return replace(runner, draft=None)


def answer_all(runner: Runner, requests: Sequence[Request]) -> list[Completion]:
    """The answers to numbered requests, in batches."""
    done: dict[int, Completion] = {}
    for event in track(runner.run_many(requests, ROWS), "answers"):
        if event.error is not None:
            raise event.error
        if event.completion is not None:
            done[int(event.request.id)] = event.completion
    return [done[at] for at in range(len(requests))]


def misses(
    answers: Sequence[Completion], requests: Sequence[Request], selected: np.ndarray
) -> dict[str, dict[str, float]]:
    """Of the full head's answers: the share of tokens, and of answers with such a token, that a
    reduced head has no row for."""
    found: dict[str, dict[str, float]] = {}
    for head in ("static", "fast"):
        lacks = [
            ~np.isin(
                answer.tokens,
                selected if head == "static" else np.union1d(selected, request.prompt),
            )
            for answer, request in zip(answers, requests, strict=True)
        ]
        found[head] = {
            "misses": float(np.concatenate(lacks).mean()),
            "answers_with_misses": mean(float(each.any()) for each in lacks),
        }
    return found


def scores(
    runner: Runner, answers: dict[str, list[Completion]], traces: Sequence[Trace]
) -> dict[str, dict[str, Any]]:
    """By head: right answers, beside the full head's."""
    said = {
        head: [runner.codec.decode(done.tokens) for done in given]
        for head, given in answers.items()
    }
    right = {
        head: [float(exact(s, text(t))) for s, t in zip(given, traces, strict=True)]
        for head, given in said.items()
    }
    return {
        head: {
            "exact": mean(right[head]),
            "exact_over_full": difference(right[head], right["full"]),
            "f1": f1([(s, text(t)) for s, t in zip(given, traces, strict=True)]),
            "differ_from_full": sum(
                done.tokens != other.tokens
                for done, other in zip(answers[head], answers["full"], strict=True)
            ),
        }
        for head, given in said.items()
    }


Round = dict[tuple[str, bool], Completion]


def interleave(setup: Setup, runners: dict[str, Runner], traces: list[Trace]) -> list[Round]:
    """Every head, with drafts and without, answers each prompt before the next one."""
    for runner in runners.values():
        runner.engine.prefixes = False
        runner.forget()
    pens = {(head, True): runner for head, runner in runners.items()}
    pens |= {(head, False): undrafted(runner) for head, runner in runners.items()}
    keys = list(pens)
    asked = setup.requests(runners["full"], traces)
    rounds: list[Round] = []
    for at, request in enumerate(track([asked[0], *asked], "timing")):
        turn = keys[at % len(keys) :] + keys[: at % len(keys)]
        said = {key: complete(pens[key].run(request)) for key in turn}
        rounds.append({key: said[key] for key in keys})
    return rounds[1:]  # the first only warms up


def timings(rounds: Sequence[Round], head: str, drafts: bool) -> dict[str, Any]:
    """Beside the full head with no drafts. A step of plain decoding is a token, so `faster_step`
    compares milliseconds a token after the first; `faster` all seconds."""

    def by_step(done: Completion) -> float:
        return 1000 * done.stats.decode_seconds / max(1, len(done.tokens) - 1)

    def whole(done: Completion) -> float:
        return 1000 * (done.stats.prefill_seconds + done.stats.decode_seconds)

    own = [r[head, drafts] for r in rounds]
    base = [r["full", False] for r in rounds]
    offered = sum(done.stats.offered.get("head", 0) for done in own)
    accepted = sum(done.stats.accepted.get("head", 0) for done in own)
    found: dict[str, Any] = {
        "differ_from_full": sum(o.tokens != b.tokens for o, b in zip(own, base, strict=True)),
        "tokens": mean(len(done.tokens) for done in own),
        "passes_of_full_head": mean(done.stats.steps for done in own),
        "ahead": offered,
        "rolled_back": (offered - accepted) / max(1, offered),
        "prefill_ms": median(1000 * done.stats.prefill_seconds for done in own),
    }
    for name, ratio, cost in (("step", "faster_step", by_step), ("answer", "faster", whole)):
        mine, theirs = [*map(cost, own)], [*map(cost, base)]
        found[f"ms_a_{name}"] = median(mine)
        found[ratio] = sum(theirs) / sum(mine)
        found[f"{ratio}_interval"] = interval(theirs, mine)
    return found


if __name__ == "__main__":
    main()
