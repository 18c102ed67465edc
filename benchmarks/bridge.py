"""What a bridge brings on one task: right answers and milliseconds, beside both its models.

    python benchmarks/bridge.py TRACES --large DIR --small DIR --bridged NAME=DIR --json FILE

The large model may have an adapter (--large-adapter). The small one was trained alone (`tascel
finetune`), the bridged ones with what a large one read (`tascel bridge train`), all on the split
`train`. Of the split `test` in a fixed random order the first `--scored` are scored (greedy,
bfloat16, in batches, drafted for) and the first `--timed` timed one at a time: every model, without
drafts and with, answers each prompt before the next one. Without --bundle one is built from the
traces for each tokenizer.
"""

from __future__ import annotations

import argparse
import json
import random
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from new_tokens import answer_all, interleave, mean, seconds, text, timings
from scores import RESAMPLES, difference, exact, f1

from tascel.bench.bootstrap import interval
from tascel.builder import build
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.engines.hf.load import tokenizer_of
from tascel.loading import load
from tascel.runner import Runner
from tascel.traces.read import read_traces
from tascel.types import Trace

LARGE, SMALL = "large", "small alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--large", required=True)
    parser.add_argument("--large-adapter")
    parser.add_argument("--small", required=True)
    parser.add_argument("--bridged", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--scored", type=int, default=300)
    parser.add_argument("--timed", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bridged = dict(pair.split("=", 1) for pair in args.bridged)
    models = {LARGE: args.large, SMALL: args.small, **bridged}
    traces = list(read_traces(args.traces))
    test = [t for t in traces if t.split == "test"]
    random.Random(0).shuffle(test)
    scored, timed = test[: args.scored], test[: args.timed]

    with TemporaryDirectory() as work:
        runners = opened(models, args.large_adapter, args.bundle, traces, Path(work))
        print("scoring")
        answers = {name: answer_all(r, scored, args.max_tokens) for name, r in runners.items()}
        report: dict[str, Any] = {
            "task": args.traces.stem,
            "dtype": "bfloat16",
            "device": runners[LARGE].setting.machine,
            "scored": len(scored),
            "models": scores(scored, answers, models),
        }
        print(json.dumps(report["models"], indent=2))
        rounds = interleave(runners, timed, args.max_tokens)
    report["timed"] = len(rounds)
    report["times"] = timings(rounds)
    report["over_large_with_drafts"] = {name: over(rounds, name) for name in bridged}
    print(json.dumps({key: report[key] for key in ("times", "over_large_with_drafts")}, indent=2))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def opened(
    models: dict[str, str],
    large_adapter: str | None,
    bundle: Path | None,
    traces: list[Trace],
    work: Path,
) -> dict[str, Runner]:
    """All models, each with the bundle of its tokenizer."""
    bundles = {Bundle.open(bundle).manifest.tokenizer: bundle} if bundle else {}
    runners = {}
    for name, model in models.items():
        adapter = large_adapter if name == LARGE else None
        codec = Codec.from_pretrained(tokenizer_of(model, adapter))
        if codec.fingerprint not in bundles:
            bundles[codec.fingerprint] = work / str(len(bundles))
            build(traces, model, bundles[codec.fingerprint], adapter=adapter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # all but one have other weights than the bundle's
            runners[name] = load(
                bundles[codec.fingerprint], model=model, adapter=adapter, dtype="bfloat16"
            )
    return runners


def scores(
    traces: list[Trace], answers: dict[str, list[tuple[str, int]]], models: dict[str, str]
) -> list[dict[str, Any]]:
    """For each model: answers that are right and those that are so letter by letter, in part, and
    how much of what the small model lacks a bridged one has."""
    said = {name: [answer for answer, _ in given] for name, given in answers.items()}
    right = {
        name: [float(exact(a, text(t))) for a, t in zip(given, traces, strict=True)]
        for name, given in said.items()
    }
    return [
        {
            "name": name,
            "exact": mean(right[name]),
            "verbatim": mean(
                a.strip() == text(t).strip() for a, t in zip(given, traces, strict=True)
            ),
            "f1": f1([(a, text(t)) for a, t in zip(given, traces, strict=True)]),
            "over_small": difference(right[name], right[SMALL]),
            "gap_closed": gap_closed(right[name], right[SMALL], right[LARGE]),
            "tokens_an_answer": mean(count for _, count in answers[name]),
            "training": training(Path(models[name])),
        }
        for name, given in said.items()
    ]


def gap_closed(
    own: list[float], small: list[float], large: list[float]
) -> tuple[float, float, float] | None:
    """The share of large - small that own - small is, with its 95 % paired-bootstrap interval; None
    where the large model is not better."""
    gap = sum(large) - sum(small)
    if gap <= 0:
        return None
    rng, triples = random.Random(0), list(zip(own, small, large, strict=True))
    shares = []
    for _ in range(RESAMPLES):
        drawn = rng.choices(triples, k=len(triples))
        apart = sum(g - s for _, s, g in drawn)
        if apart > 0:
            shares.append(sum(o - s for o, s, _ in drawn) / apart)
    shares.sort()
    low, high = (shares[int(q * len(shares))] for q in (0.025, 0.975))
    return (sum(own) - sum(small)) / gap, low, high


def training(folder: Path) -> dict[str, Any] | None:
    file = folder / "training.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def over(rounds: list[dict], name: str) -> tuple[float, float, float]:
    """How many times faster a bridged model with drafts is than the large one with drafts."""
    base, own = ([seconds(r[who, "tascel"]) for r in rounds] for who in (LARGE, name))
    return sum(base) / sum(own), *interval(base, own)


if __name__ == "__main__":
    main()
