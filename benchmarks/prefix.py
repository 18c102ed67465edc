"""What keeping a prompt's beginning saves, one request at a time: seconds to the first token and in
all, each prompt read whole and then with what earlier prompts left in the cache. All prompts begin
with the same system turn.

python benchmarks/prefix.py BUNDLE TRACES --model M [--adapter A] [--limit 40] [--json F]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from statistics import median

from tascel.bench.prompts import prompts, requests
from tascel.decode.loop import complete
from tascel.loading import load

SYSTEM = """You are the voice assistant of a smart home. Turn each command into one JSON object
with the keys "intent" and, if the command names anything, "slots". Known intents are: turning
devices on and off, dimming and colouring lights, opening, closing and setting covers, locking and
unlocking doors, reading and setting thermostats, asking for the state of a device or a sensor,
timers that can be started, paused, extended and cancelled, adding to and completing items of lists,
playing, pausing and skipping media, setting volumes, vacuuming, weather, dates and the time. Slots
are the device's name, the area, the floor, the domain, the device class, and values as the command
gives them. Do not explain anything and do not add slots that the command does not name."""


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
    system = {"role": "system", "content": SYSTEM}
    traces = prompts(args.traces, "test", args.limit)
    led = (replace(trace, messages=(system, *trace.messages)) for trace in traces)
    asked = [r for _, r in requests(runner, led, max_tokens=64)]
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
