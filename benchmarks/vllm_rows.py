"""What drafting costs in vLLM's loop: microseconds a row, with so many rows in the batch.

    python benchmarks/vllm_rows.py BUNDLE TRACES --json results/vllm_rows.json

No engine runs: rows write the known answers of the traces (of the test split, where there is one)
as far as they were offered rightly, and one token more; a row that is done asks the next prompt.
What is timed is all that `Proposer.propose` does. Steps in which a request begins are told apart.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from tascel.bundle import Bundle
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import typical
from tascel.engines.profile import machine, read_price
from tascel.plugins.vllm.drafts import Drafts
from tascel.traces.read import read_traces

MOST, LONGEST = 32, 4096


@dataclass
class Row:
    prompt: list[int]
    answer: list[int]
    said: int = 0
    offered: list[int] | None = None

    def write(self) -> list[int]:
        rest, right = self.answer[self.said :], 0
        for ours, theirs in zip(self.offered or [], rest[:-1], strict=False):
            if ours != theirs:
                break
            right += 1
        self.said += right + 1
        return rest[: right + 1]


def walk(drafts: Drafts, asked: list[tuple[list[int], list[int]]], rows: int) -> dict:
    """Seconds of each step by whether a request began in it, while all rows are taken."""
    coming = iter(asked)
    batch = [Row(*next(coming)) for _ in range(rows)]
    tokens = np.zeros((rows, LONGEST), np.int32)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    offered = written = 0
    while True:
        began = any(row.said == 0 for row in batch)
        sampled = [row.write() for row in batch]
        counts = np.array([len(row.prompt) + row.said for row in batch], np.int32)
        for at, row in enumerate(batch):
            tokens[at, : counts[at]] = row.prompt + row.answer[: row.said]
        started = perf_counter()
        offers = drafts.propose(sampled, counts, tokens)
        seconds[began].append(perf_counter() - started)
        written += sum(map(len, sampled))
        for at, (row, offer) in enumerate(zip(batch, offers, strict=True)):
            row.offered = offer
            offered += len(offer)
            if row.said == len(row.answer):
                following = next(coming, None)
                if following is None:
                    break
                batch[at] = Row(*following)
        else:
            continue
        break
    steps = len(seconds[False]) + len(seconds[True])
    microseconds = {
        name: [round(1e6 * float(np.percentile(seconds[which], q)) / rows, 1) for q in (50, 99)]
        for which, name in ((False, "going on"), (True, "with a new request"))
        if seconds[which]
    }
    return {
        "rows": rows,
        "steps": steps,
        "tokens_a_row_and_step": round(written / steps / rows, 2),
        "offered_a_row_and_step": round(offered / steps / rows, 2),
        "microseconds_a_row": microseconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("traces")
    parser.add_argument("--price", type=Path)
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    bundle = Bundle.open(args.bundle)
    codec = bundle.codec
    traces = [trace for trace in read_traces(args.traces) if trace.split != "train"]
    picked = np.random.default_rng(0).permutation(len(traces))[: args.limit]
    asked = [
        (
            codec.prompt(traces[i].messages, traces[i].tools).tolist(),
            codec.answer(traces[i]).tolist(),
        )
        for i in picked.tolist()
    ]
    price = read_price(args.price) if args.price else typical()
    found = []
    for rows in (1, 4, 8, 16):
        draft = bundle.draft(DraftConfig(most=MOST, trees=False))
        drafts = Drafts(draft, price, codec.eos_ids, codec.vocab_size, LONGEST, MOST)
        found.append(walk(drafts, asked, rows))
        print(json.dumps(found[-1]))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
