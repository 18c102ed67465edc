"""How long finding a request's neighbours among very many past prompts takes, on one core.

    python benchmarks/neighbours.py TRACES... --model MODEL --json results/neighbours.json

Past prompts are the traces' own, over and over, a tenth of their tokens replaced by others of
theirs; requests are more of the same, not in the index. `shared`: all begin with the same long
text. `short`: requests are three tokens long.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from tascel.codec import Codec
from tascel.draft.neighbours import Neighbours
from tascel.draft.reader import Reader
from tascel.engines.profile import machine
from tascel.traces.read import read_traces
from tascel.types import Ids

REPLACED = 0.1


def read(paths: Sequence[str], codec: Codec) -> list[Ids]:
    """The train prompts of all files, in random order."""
    traces = [t for path in paths for t in read_traces(path) if t.split in (None, "train")]
    order = np.random.default_rng(0).permutation(len(traces))
    return [codec.prompt(traces[i].messages, traces[i].tools) for i in order]


def varied(prompts: Sequence[Ids], count: int) -> list[Ids]:
    """`count` prompts: each in its turn, with other tokens of all prompts put in."""
    rng, known = np.random.default_rng(1), np.concatenate(prompts)
    made: list[Ids] = []
    for i in range(count):
        prompt = prompts[i % len(prompts)]
        new = rng.random(len(prompt)) < REPLACED
        made.append(np.where(new, rng.choice(known, len(prompt)), prompt))
    return made


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    codec = Codec.from_pretrained(args.model)
    reader, prompts = Reader(codec.tokenizer), read(args.traces, codec)
    made = varied(prompts, args.count + args.requests)
    past, asked = made[: args.count], made[args.count :]
    start = np.concatenate(prompts[:200])[: args.shared]
    short = [prompt[len(prompt) // 2 :][:3] for prompt in asked]
    plain = Neighbours.of([reader.about(prompt) for prompt in past])
    rows = [
        {"prompts": "plain"} | searched(plain, reader, asked, args.k),
        {"prompts": "short"} | searched(plain, reader, short, args.k),
    ]
    longer = Neighbours.of([reader.about(np.append(start, prompt)) for prompt in past])
    asked = [np.append(start, prompt) for prompt in asked]
    rows.append({"prompts": "shared"} | searched(longer, reader, asked, args.k))
    return {
        "machine": machine(),
        "traces": len(plain),
        "requests": len(asked),
        "k": args.k,
        "shared_tokens": len(start),
        "rows": rows,
    }


def searched(index: Neighbours, reader: Reader, asked: Sequence[Ids], k: int) -> dict[str, Any]:
    """Microseconds of making a request's features, and of finding; bytes that the index takes."""
    about, find = list[int](), list[int]()
    index.find(reader.about(asked[0]), k)  # compiles
    for prompt in asked:
        start = perf_counter_ns()
        features = reader.about(prompt)
        middle = perf_counter_ns()
        index.find(features, k)
        find.append(perf_counter_ns() - middle)
        about.append(middle - start)
    arrays = (index.keys, index.weights, index.starts, index.traces, index.masses)
    return {
        "bytes_per_trace": sum(array.nbytes for array in arrays) / len(index),
        "features_us": spread(about),
        "find_us": spread(find),
    }


def spread(nanoseconds: Sequence[int]) -> dict[str, float]:
    median, p99 = np.percentile(nanoseconds, (50, 99)) / 1000
    return {"median": round(float(median), 1), "p99": round(float(p99), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--shared", type=int, default=500, help="tokens that all begin with")
    parser.add_argument("-k", type=int, default=16)
    parser.add_argument("--json")
    args = parser.parse_args()
    content = measure(args)
    print(f"{content['machine']}; {content['traces']:,} traces; microseconds as median / p99")
    for row in content["rows"]:
        about, find = row["features_us"], row["find_us"]
        print(
            f"{row['prompts']:7} features {about['median']:6.1f} / {about['p99']:6.1f}   "
            f"find {find['median']:6.1f} / {find['p99']:6.1f}   "
            f"{row['bytes_per_trace']:.0f} bytes a trace"
        )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
