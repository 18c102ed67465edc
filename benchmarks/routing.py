"""Do prompts find their task, and are prompts of no task told apart?

    python benchmarks/routing.py CLINC --model MODEL --json results/routing.json

CLINC150 (Larson et al. 2019): a classifier of 150 tasks, learned on the train labels, judged on
prompts in scope and out of scope, once with the prompts' own features and, with --embedder, once
with sentence embeddings too. mixed.py asks the same of tasks that are found without labels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, perf_counter_ns

import numpy as np
from sklearn.metrics import roc_auc_score

from tascel.codec import Codec
from tascel.draft.features import features, folding
from tascel.engines.profile import machine
from tascel.route.classify import Classifier
from tascel.route.embed import Embedder
from tascel.speller import Speller
from tascel.traces.folds import folds, groups
from tascel.traces.read import read_traces
from tascel.types import Trace

FOLDS, BINS = 3, 15
ROUNDS = 2000  # classifications timed


class Reader:
    """Prompts and answers as features."""

    def __init__(self, model: str) -> None:
        self.codec = Codec.from_pretrained(model)
        self.fold = folding(Speller(self.codec.tokenizer).texts)

    def prompts(self, traces: Sequence[Trace]) -> list:
        return [features(self.codec.prompt(t.messages, t.tools), self.fold) for t in traces]


def timed(classifier: Classifier, prompts: list, fold: np.ndarray, rows: list) -> dict:
    """Microseconds from a prompt's ids to its task, the embedding apart."""
    taken = []
    for at in range(ROUNDS):
        prompt, row = prompts[at % len(prompts)], rows[at % len(rows)]
        start = perf_counter_ns()
        classifier.classify(features(prompt, fold), row)
        taken.append((perf_counter_ns() - start) / 1e3)
    return {"median_us": float(np.median(taken)), "p99_us": float(np.quantile(taken, 0.99))}


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far confidence and share of right ones lie apart, over equal bins of confidence."""
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    apart = [
        abs(confidence[bin_of == b].sum() - right[bin_of == b].sum()) for b in np.unique(bin_of)
    ]
    return float(sum(apart) / len(right))


def size(classifier: Classifier) -> int:
    return sum(getattr(classifier, name).nbytes for name in classifier.__dataclass_fields__)


def clinc(path: str, reader: Reader, split: str, embedder: Embedder | None) -> dict:
    traces = list(read_traces(path))
    train, inside, outside = (
        [t for t in traces if t.split == name] for name in ("train", split, f"oos_{split}")
    )
    numbers = {name: i for i, name in enumerate(sorted({t.answer["content"] for t in train}))}
    label = [np.array([numbers[t.answer["content"]] for t in ts]) for ts in (train, inside)]
    fold = folds(groups(train), FOLDS)
    rows = [reader.prompts(part) for part in (train, inside, outside)]
    ids = [reader.codec.prompt(t.messages) for t in inside]
    found = {"split": split, "in_scope": len(inside), "out_of_scope": len(outside)}
    ways: dict = {"features": [None, [None] * len(inside), [None] * len(outside)]}
    if embedder:
        start = perf_counter()
        points = [embedder([t.prompt_text for t in part]) for part in (train, inside, outside)]
        found["embedding_ms_in_batches"] = 1e3 * (perf_counter() - start) / sum(map(len, rows))
        alone = []
        for trace in inside[:200]:
            start = perf_counter()
            embedder([trace.prompt_text])
            alone.append(1e3 * (perf_counter() - start))
        found["embedding_ms_alone"] = float(np.median(alone))
        ways["features and embedding"] = points
    for way, (known, these, those) in ways.items():
        start = perf_counter()
        classifier = Classifier.fit(rows[0], label[0].astype(np.int32), fold, known)
        seconds = perf_counter() - start
        guesses = [classifier.classify(*pair) for pair in zip(rows[1], these, strict=True)]
        strange = [classifier.classify(*pair) for pair in zip(rows[2], those, strict=True)]
        likeness = [
            [classifier.familiarity(*pair) for pair in zip(*part, strict=True)]
            for part in ((rows[1], these), (rows[2], those))
        ]
        right = np.array([g.task for g in guesses]) == label[1]
        known_ones = np.repeat([1, 0], [len(inside), len(outside)])
        found[way] = {
            "accuracy": float(right.mean()),
            "auroc_unknown": float(roc_auc_score(known_ones, np.concatenate(likeness))),
            "calibration_error": calibration_error(
                np.array([g.confidence for g in guesses]), right
            ),
            "unknown_in_scope": float(np.mean([g.unknown for g in guesses])),
            "unknown_out_of_scope": float(np.mean([g.unknown for g in strange])),
            "fit_seconds": seconds,
            "bytes": size(classifier),
            **timed(classifier, ids, reader.fold, list(these)),
        }
        print(way, json.dumps(found[way], indent=1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clinc")
    parser.add_argument("--model", required=True)
    parser.add_argument("--embedder", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    reader = Reader(args.model)
    embedder = Embedder(args.embedder) if args.embedder else None
    found = {"machine": machine(), "clinc150": clinc(args.clinc, reader, args.split, embedder)}
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
