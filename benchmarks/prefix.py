"""What keeping a prompt's beginning saves, one request at a time: seconds to the first token and in
all, each prompt read whole and then with what earlier prompts left in the cache.

python benchmarks/prefix.py BUNDLE TRACES --model M [--adapter A] [--limit 40] [--json F]
"""

from __future__ import annotations

import argparse
import json
from statistics import median

from tascel.bench.prompts import prompts, requests
from tascel.decode.loop import complete
from tascel.runner import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("traces")
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--json")
    args = parser.parse_args()
    runner = load(args.bundle, model=args.model, adapter=args.adapter, dtype=args.dtype)
    asked = [r for _, r in requests(runner, prompts(args.traces, "test", args.limit))]
    runs = {"read whole": [], "kept": []}
    for request in asked:
        for name, answers in runs.items():
            runner.engine.prefixes = name == "kept"
            answers.append(complete(runner.run(request)))
    rows = [row(name, answers) for name, answers in runs.items()]
    same = sum(a.tokens == b.tokens for a, b in zip(*runs.values(), strict=True))
    content = {
        "model": runner.setting.model,
        "device": f"{runner.setting.device}, {runner.setting.machine}",
        "dtype": runner.setting.dtype,
        "examples": len(asked),
        "prompt_tokens": median(len(request.prompt) for request in asked),
        "rows": rows,
        "identical": same,
    }
    print(json.dumps(content, indent=2))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")


def row(name: str, answers: list) -> dict:
    stats = [answer.stats for answer in answers]
    return {
        "name": name,
        "shared_tokens": median(s.shared for s in stats),
        "first_token_ms": 1000 * median(s.prefill_seconds for s in stats),
        "seconds": sum(s.prefill_seconds + s.decode_seconds for s in stats),
        "tokens": sum(len(answer.tokens) for answer in answers),
    }


if __name__ == "__main__":
    main()
