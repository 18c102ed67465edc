"""How often is the demo's adapter exactly right, intent and slots, on held-out templates?

    python benchmarks/accuracy.py --json results/home_assistant_accuracy.json

Greedy answers in bfloat16 by stock batched `generate`, without drafts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tascel.codec import Codec
from tascel.demo import household
from tascel.demo.run import MAX_TOKENS, Demo
from tascel.engines.hf.batch import answers
from tascel.engines.hf.load import load_model
from tascel.traces.read import read_traces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    demo = Demo(lambda stage, done, total: None)
    demo.prepare()
    traces = list(read_traces(demo.traces))
    seen = {t.answer["content"] for t in traces if t.split == "train"}
    traces = [t for t in traces if t.split == args.split]
    codec = Codec.from_pretrained(demo.model)
    model = load_model(demo.model, demo.adapter, "bfloat16")
    prompts = [codec.prompt(t.messages) for t in traces]
    count = {"exact": 0, "of": len(traces), "unseen_exact": 0, "unseen_of": 0}
    stream = answers(model, prompts, codec.eos_ids, codec.end_id, MAX_TOKENS, args.batch)
    for i, ids in stream:
        reference = traces[i].answer["content"]
        right = household.exact(codec.decode(ids.tolist()), reference)
        count["exact"] += right
        count["unseen_of"] += reference not in seen
        count["unseen_exact"] += right and reference not in seen
    print(count)
    if args.json:
        args.json.write_text(json.dumps({"split": args.split, **count}, indent=2) + "\n")


if __name__ == "__main__":
    main()
