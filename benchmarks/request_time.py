"""How long does a request's draft take, part by part? Microseconds on one core.

    python benchmarks/request_time.py TRACES --model M --json results/request_time.json

A tenth of the train traces, by near-duplicates, is held out; the rest is learned. Held-out answers
are walked token by token and drafted at every place, the sources all on; before that the parts of
a request's set-up are timed, the least of three times each. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from tascel.codec import Codec
from tascel.draft import trust as trusts
from tascel.draft.base import Proposal
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.price import typical
from tascel.draft.reader import Reader
from tascel.draft.state import State
from tascel.engines.profile import machine
from tascel.store.file import whole_file
from tascel.traces.folds import folds, groups
from tascel.traces.read import read_traces
from tascel.types import Request

TRUSTED, ASKED = 800, 60
SHAPES = {
    "tree of 32": DraftConfig(most=32),
    "tree of 32, as large as it gets": DraftConfig(most=32, priced=False),
    "chain of 16": DraftConfig(most=16, trees=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces")
    parser.add_argument("--model", required=True)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    codec = Codec.from_pretrained(args.model)
    traces = [trace for trace in read_traces(args.traces) if trace.split in (None, "train")]
    alike = groups(traces)
    held = folds(alike, 10) == 0
    pairs = [(codec.prompt(t.messages, t.tools), output) for t, output in codec.answers(traces)]
    reader = Reader(codec.tokenizer)
    learned = [pair for pair, out in zip(pairs, held, strict=True) if not out]
    asked = [pair for pair, out in zip(pairs, held, strict=True) if out][:ASKED]
    prompts, outputs = map(list, zip(*learned, strict=True))
    words, about = [reader.words(p) for p in prompts], [reader.about(p) for p in prompts]
    known = Knowledge.of(outputs, words, about, codec.vocab_size)
    n = TRUSTED
    trust = trusts.learn(
        outputs[:n], prompts[:n], words[:n], about[:n],
        [folds(np.arange(len(outputs[:n]), dtype=np.int32), 5)], codec.vocab_size,
    )  # fmt: skip
    found = {"machine": machine(), "traces": len(learned), "asked": len(asked)}
    found["set_up"] = set_up(known, reader, [prompt for prompt, _ in asked])
    for shape, config in SHAPES.items():
        draft = NgramDraft(known, trust, reader, codec.eos_ids, config)
        draft.warm()
        found[shape] = walked(draft, asked)
        print(shape, found[shape])
    print(found["set_up"])
    if args.json:
        with whole_file(args.json) as file:
            file.write(json.dumps(found, indent=1) + "\n")


def set_up(known: Knowledge, reader: Reader, prompts: list) -> dict:
    """Each part of opening a request, medians over prompts."""
    about, words = [reader.about(p) for p in prompts], [reader.words(p) for p in prompts]
    recalled = [known.recall(a) for a in about]
    parts: dict[str, Callable[[int], object]] = {
        "words": lambda i: reader.words(prompts[i]),
        "about": lambda i: reader.about(prompts[i]),
        "recall": lambda i: known.recall(about[i]),
        "state": lambda i: State(known.sources, prompts[i], words[i], recalled[i]),
    }
    return {
        name: float(np.median([min(taken(part, i) for _ in range(3)) for i in range(len(prompts))]))
        for name, part in parts.items()
    }


def taken(part: Callable[[int], object], i: int) -> float:
    start = perf_counter_ns()
    part(i)
    return (perf_counter_ns() - start) / 1e3


def walked(draft: NgramDraft, asked: list) -> dict:
    """Drafting and accepting at every place of the answers."""
    price, times, accepts, widths = typical(), [], [], []
    for prompt, output in asked:
        session = draft.open(Request("timed", prompt))
        for token in output.tolist():
            start = perf_counter_ns()
            widths.append(len(session.propose(64, price)))
            between = perf_counter_ns()
            session.accept([token], Proposal.nothing(), 0)
            times.append(between - start)
            accepts.append(perf_counter_ns() - between)

    def spread(nanoseconds: list[int]) -> dict[str, float]:
        median, p99 = np.quantile(nanoseconds, [0.5, 0.99]) / 1e3
        return {"median_us": float(median), "p99_us": float(p99)}

    return {"drafted": float(np.mean(widths)), "draft": spread(times), "accept": spread(accepts)}


if __name__ == "__main__":
    main()
