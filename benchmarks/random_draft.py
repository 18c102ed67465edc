"""What does a draft that answers at random cost? Identical output, and how much slower?

    python benchmarks/random_draft.py --json results/random_draft.json

Interleaves plain decoding with a draft of random chains of 12 tokens, in float32, on the demo's
model and prompts, each answer going on for 200 tokens (end ids are ignored on both sides). The
breaker starts afresh for every answer, as if each were a draft's first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import numpy as np

from tascel.decode.loop import complete
from tascel.demo.run import Demo
from tascel.draft.base import Proposal
from tascel.draft.breaker import Breaker
from tascel.loading import load


class Random:
    """Proposes anything; its own session."""

    def __init__(self, vocab_size, width):
        self._rng = np.random.default_rng(0)
        self._vocab_size, self._width = vocab_size, width

    def open(self, request):
        return self

    def propose(self, room, price, pending=1):
        ids = self._rng.integers(0, self._vocab_size, min(room, self._width))
        return Proposal.chain(ids.tolist())

    def accept(self, tokens, offered, taken):
        pass

    def close(self):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--width", type=int, default=12)
    args = parser.parse_args()
    demo = Demo(lambda stage, done, total: None)
    demo.prepare()
    if not demo.bundle.exists():
        demo.learn()
    runner = load(demo.bundle, model=demo.model, adapter=demo.adapter, dtype="float32")
    runner.engine.eos_ids = frozenset()
    draft = Random(runner.engine.vocab_size, args.width)
    rows = []
    for trace in demo.held_out(args.prompts):
        request = runner.request(trace.messages, max_tokens=args.tokens)
        seconds, tokens, offered = {"none": [], "random": []}, {}, 0
        for name in ("none", "random") * args.repeats:
            if name == "none":
                done = complete(runner.run(request, plain=True))
            else:
                fresh = Breaker(runner.price)
                done = complete(runner.run(request, draft=draft, breaker=fresh))
                offered = sum(done.stats.offered.values())
            seconds[name].append(done.stats.prefill_seconds + done.stats.decode_seconds)
            tokens[name] = done.tokens
        rows.append(
            {
                "tokens": len(tokens["none"]),
                "identical": tokens["none"] == tokens["random"],
                "offered": offered,
                "none_seconds": seconds["none"],
                "random_seconds": seconds["random"],
                "ratio": median(seconds["random"]) / median(seconds["none"]),
            }
        )
        print(rows[-1])
    content = {
        "dtype": runner.setting.dtype,
        "device": f"{runner.setting.device}, {runner.setting.machine}",
        "median_ratio": median(row["ratio"] for row in rows),
        "identical": sum(row["identical"] for row in rows),
        "rows": rows,
    }
    print(f"median ratio {content['median_ratio']:.3f}")
    if args.json:
        args.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
