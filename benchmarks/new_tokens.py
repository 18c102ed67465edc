"""What new tokens bring on one task: output tokens, milliseconds and the task's score.

    python benchmarks/new_tokens.py TRACES --model 0=DIR --model 250=DIR --json FILE
    python benchmarks/new_tokens.py TRACES --model 0=DIR --model 250=DIR --heads full,lossless

Models are folders of `tascel finetune`, named by their number of new tokens, the one without first.
With several `--heads` each runs with each of them, its vocabulary tailored to the task: drafts, new
tokens and a tailored head make eight corners.

All of the split `test` is scored (greedy, bfloat16, in batches, drafted for: in bfloat16 that
turns a near-tie now and then). The first `--timed` prompts of a
fixed random order are timed one at a time: every model, without drafts and with the drafts of a
bundle built for it, answers each prompt before the next one.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import track
from scores import difference, exact, f1

from tascel.bench.bootstrap import interval
from tascel.bench.contenders import Answer, Contender, contenders
from tascel.builder import BuildConfig, build
from tascel.loading import load
from tascel.runner import Runner
from tascel.traces.read import read_traces
from tascel.types import Sampling, Trace

ROWS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--heads", default="full", help="of full, lossless, fast; with commas")
    parser.add_argument("--timed", type=int, default=60)
    parser.add_argument("--scored", type=int, help="so many test prompts only")
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    models, heads = dict(pair.split("=", 1) for pair in args.model), args.heads.split(",")
    folders: dict[str, str] = {}
    traces = list(read_traces(args.traces))
    seen = {text(t) for t in traces if t.split == "train"}
    test = [t for t in traces if t.split == "test"]
    random.Random(0).shuffle(test)
    scored = test[: args.scored]

    with TemporaryDirectory() as work:
        runners = {}
        for model, folder in models.items():
            bundle = Path(work) / model
            build(args.traces, folder, bundle, config=BuildConfig(tasks="one"))
            if heads != ["full"]:
                tailor = ["tailor", args.traces, "--model", folder, "--bundle", bundle]
                subprocess.run([sys.executable, "-m", "tascel", *tailor], check=True)
            for head in heads:
                name = model if len(heads) == 1 else f"{model}, {head}"
                folders[name] = folder
                runners[name] = load(bundle, model=folder, dtype="bfloat16", head=head)
        print("scoring")
        answers = {name: answer_all(r, scored, args.max_tokens) for name, r in runners.items()}
        report: dict[str, Any] = {
            "task": args.traces.stem,
            "dtype": "bfloat16",
            "device": next(iter(runners.values())).setting.machine,
            "scored": len(scored),
            "unseen": sum(text(t) not in seen for t in scored),
            "models": scores(scored, seen, answers, folders),
        }
        print(json.dumps(report["models"], indent=2))
        rounds = interleave(runners, test[: args.timed], args.max_tokens)
        report["timed"] = len(rounds)
        report["corners"] = timings(rounds)
    print(json.dumps(report["corners"], indent=2))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def text(trace: Trace) -> str:
    return trace.answer["content"]


def answer_all(runner: Runner, traces: list[Trace], limit: int) -> list[tuple[str, int]]:
    """Text and number of tokens of each answer."""
    requests = [
        replace(runner.request(t.messages, sampling=Sampling(), max_tokens=limit), id=str(i))
        for i, t in enumerate(traces)
    ]
    done: list[tuple[str, int]] = [("", 0)] * len(traces)
    for event in track(runner.run_many(requests, ROWS), "answers"):
        if event.completion is not None:
            ids = event.completion.tokens
            done[int(event.request.id)] = runner.codec.decode(ids), len(ids)
    return done


def scores(
    traces: list[Trace],
    seen: set[str],
    answers: dict[str, list[tuple[str, int]]],
    folders: dict[str, str],
) -> list[dict[str, Any]]:
    """For each model: right answers in all, among those not in train, and in part, beside the
    first's."""
    fresh = [i for i, t in enumerate(traces) if text(t) not in seen]
    pairs = {
        name: [(said, text(t)) for (said, _), t in zip(given, traces, strict=True)]
        for name, given in answers.items()
    }
    right = {name: [float(exact(*pair)) for pair in said] for name, said in pairs.items()}
    partly = {name: [f1([pair]) for pair in said] for name, said in pairs.items()}
    first = next(iter(answers))
    tokens = {name: sum(n for _, n in given) / len(given) for name, given in answers.items()}
    rows = []
    for name in answers:
        training = json.loads((Path(folders[name]) / "training.json").read_text())
        rows.append(
            {
                "name": name,
                "exact": mean(right[name]),
                "exact_unseen": mean(right[name][i] for i in fresh),
                "f1": f1(pairs[name]),
                "exact_over_first": difference(right[name], right[first]),
                "f1_over_first": difference(partly[name], partly[first]),
                "tokens_an_answer": tokens[name],
                "fewer_tokens": tokens[first] / tokens[name],
                "training": training,
            }
        )
    return rows


def interleave(
    runners: dict[str, Runner], traces: list[Trace], limit: int
) -> list[dict[tuple[str, str], Answer]]:
    """Every model with and without drafts answers each prompt before the next one."""
    entrants: dict[tuple[str, str], tuple[Runner, Contender]] = {}
    for name, runner in runners.items():
        runner.engine.prefixes = False
        runner.forget()
        # Without a draft a reduced head still runs ahead of the whole one.
        for which, one in (("none", replace(runner, draft=None)), ("tascel", runner)):
            entrants[name, which] = one, contenders(one, ["tascel"])["tascel"]
    keys = list(entrants)
    rounds = []
    for i, trace in enumerate(track([traces[0], *traces], "timing")):
        turn = keys[i % len(keys) :] + keys[: i % len(keys)]
        said = {}
        for key in turn:
            runner, contender = entrants[key]
            asked = runner.request(trace.messages, sampling=Sampling(), max_tokens=limit)
            said[key] = contender(asked)
        rounds.append({key: said[key] for key in keys})
    return rounds[1:]  # the first only warms up


def timings(rounds: list[dict[tuple[str, str], Answer]]) -> list[dict[str, Any]]:
    first = next(iter(rounds[0]))
    base = [seconds(r[first]) for r in rounds]
    rows = []
    for key in rounds[0]:
        own = [r[key] for r in rounds]
        took = [seconds(a) for a in own]
        rows.append(
            {
                "name": key[0],
                "drafts": key[1] == "tascel",
                "prefill_ms": 1000 * mean(a.prefill_seconds for a in own),
                "decode_ms": 1000 * mean(a.decode_seconds for a in own),
                "tokens": mean(len(a.tokens) for a in own),
                "steps": mean(a.steps for a in own),
                "faster": sum(base) / sum(took),
                "interval": interval(base, took),
                "differ_from_plain": sum(a.tokens != r[key[0], "none"].tokens
                                         for a, r in zip(own, rounds, strict=True)),
            }
        )  # fmt: skip
    return rows


def seconds(answer: Answer) -> float:
    return answer.prefill_seconds + answer.decode_seconds


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / max(1, len(listed))


if __name__ == "__main__":
    main()
