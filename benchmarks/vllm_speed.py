"""vLLM on one task: without drafts, with its own, with a warmed suffix tree, and with tascel's.

    python benchmarks/vllm_speed.py TRACES --model DIR --tune 40 --json FILE    # where vLLM is

The same requests in the same order, 1, 4, 8 and 16 at a time. Every run is a process of its own, so
nothing learned online outlives it; repeats are interleaved and medians told. The prompts are those
of the split `test`, shuffled, each once before any is asked again. With `--tune N` first every
setting in `GRIDS` answers N held-out training prompts, which then nobody has learned from, and the
fastest is taken for each number at a time: of vLLM itself, with which all contenders run, and of
its ngram and the warmed tree. `suffix` runs as it ships, and tascel has nothing to tune.

What was run is kept beside FILE, one line a run: a benchmark that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tascel.builder import build
from tascel.codec import Codec
from tascel.engines.profile import machine
from tascel.traces.folds import folds, groups
from tascel.traces.read import read_traces
from tascel.types import Trace

HERE = Path(__file__).parent
#: Of the first and of the last so many requests the speed is told apart.
WINDOW = 200
#: A point of the cumulative curve after every so many.
POINT = 50

Settings = Mapping[str, Any]
Run = dict[str, Any]


def _grid(**values: Sequence[Any]) -> list[Settings]:
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


#: How vLLM itself may run on a CPU: compiled or not, the engine in this process or its own.
BASES = _grid(enforce_eager=(False, True), one_process=(True, False))
#: A contender's settings, the first as it ships or as we would start it. For tuning, all of them.
GRIDS: Mapping[str, Sequence[Settings]] = {
    "none": [{}],
    "ngram": _grid(num_speculative_tokens=(5, 3, 10), prompt_lookup_min=(5, 2)),
    "suffix": [{}],
    "warmed": _grid(
        num_speculative_tokens=(32,),
        max_tree_depth=(64,),
        max_spec_factor=(2.0, 1.0, 4.0),
        min_token_prob=(0.1, 0.3, 0.5),
    ),
    "tascel": [{"num_speculative_tokens": 32}],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--price", help="tascel's price file; default: measured first")
    parser.add_argument("--contenders", default=",".join(GRIDS))
    parser.add_argument("--concurrency", default="1,4,8,16")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tune", type=int, default=0, metavar="N")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    with TemporaryDirectory() as work:
        bench = Bench(args, Path(work))
        chosen = bench.tuned() if args.tune else {}
        report = bench.report(bench.compare(chosen), chosen)
    args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report)


class Bench:
    """The requests, the bundles and the runs so far."""

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self.args, self.work = args, work
        self.names: list[str] = args.contenders.split(",")
        self.rows = [int(count) for count in args.concurrency.split(",")]
        traces = list(read_traces(args.traces))
        self.train = [trace for trace in traces if trace.split == "train"]
        test = [trace for trace in traces if trace.split == "test"]
        self.codec = Codec.from_pretrained(args.model)
        self.asked = self.prompts(list(ordered(test, args.requests)))
        self.distinct = min(len(test), args.requests)
        build(iter(self.train), args.model, work / "bundle")
        self.kept = args.json.with_suffix(".runs.jsonl")
        lines = self.kept.read_text().splitlines() if self.kept.exists() else []
        self.runs: list[Run] = [json.loads(line) for line in lines]

    def prompts(self, traces: Sequence[Trace]) -> list[list[int]]:
        return [self.codec.prompt(trace.messages, trace.tools).tolist() for trace in traces]

    def tuned(self) -> dict[str, Settings]:
        """The fastest settings by contender and number at a time: {"warmed 4": …}."""
        held = folds(groups(self.train), 10) == 0
        some = [trace for trace, out in zip(self.train, held, strict=True) if out]
        rest = [trace for trace, out in zip(self.train, held, strict=True) if not out]
        prompts = self.prompts(list(ordered(some, self.args.tune)))
        build(iter(rest), self.args.model, self.work / "tuning")
        chosen: dict[str, Settings] = {}

        def fastest(name: str, rows: int, tried: Sequence[Settings], base: Settings) -> Settings:
            if len(tried) == 1:
                return tried[0]
            return max(tried, key=lambda s: speed(
                self.run("tune", name, rows, 0, s if base else {}, base or s, prompts, "tuning")
            ))  # fmt: skip

        for rows in self.rows:
            base = chosen[f"vllm {rows}"] = fastest("none", rows, BASES, {})
            for name in self.names:
                chosen[f"{name} {rows}"] = fastest(name, rows, GRIDS[name], base)
        return chosen

    def compare(self, chosen: Mapping[str, Settings]) -> list[Run]:
        """Run every contender as often as asked, another one first each time."""
        done: list[Run] = []
        for repeat, rows in product(range(self.args.repeats), self.rows):
            turn = repeat % len(self.names)
            for name in self.names[turn:] + self.names[:turn]:
                settings = chosen.get(f"{name} {rows}", GRIDS[name][0])
                base = chosen.get(f"vllm {rows}", BASES[0])
                if name == "tascel" and not self.args.price:
                    self.measure(base)
                done.append(
                    self.run("run", name, rows, repeat, settings, base, self.asked, "bundle")
                )
        return done

    def run(
        self, kind: str, name: str, rows: int, repeat: int, settings: Settings, base: Settings,
        prompts: list[list[int]], bundle: str,
    ) -> Run:  # fmt: skip
        """That run, from the file of runs or from vLLM."""
        key = {"kind": kind, "name": name, "rows": rows, "repeat": repeat, "settings": settings,
               "base": base, "asked": len(prompts)}  # fmt: skip
        for run in self.runs:
            if key.items() <= run.items():
                return run
        drafts = speculation(name, settings, self.work / bundle, self.args.price)
        job = {
            "model": self.args.model,
            "engine": self.engine(base) | drafts,
            "prompts": prompts,
            "concurrency": rows,
            "max_tokens": self.args.max_tokens,
        }
        asked, told = self.work / "job.json", self.work / "run.json"
        asked.write_text(json.dumps(job))
        self.process([HERE / "vllm_run.py", asked, told], base)
        run = key | json.loads(told.read_text())
        self.note(run)
        what = " ".join(f"{key}={value}" for key, value in (base | settings).items())
        print(f"{kind} {name} x{rows} {what}: {speed(run):.1f} tok/s", flush=True)
        return run

    def measure(self, base: Settings) -> None:
        """See that tascel knows what a pass costs in this vLLM: once, before anything is timed."""
        key = {"kind": "price", "base": base}
        if not any(key.items() <= run.items() for run in self.runs):
            flags = [f"--{name.replace('_', '-')}={value}"
                     for name, value in self.engine(base).items() if value is not True]  # fmt: skip
            flags += ["--enforce-eager"] if base["enforce_eager"] else []
            verb = ["-m", "tascel", "profile", "--engine", "vllm", "--model", self.args.model]
            self.note(key | {"told": self.process([*verb, "--", *flags], base)})

    def engine(self, base: Settings) -> dict[str, Any]:
        """What all runs give to vLLM."""
        return {
            "max_model_len": self.args.max_model_len,
            "max_num_seqs": max(self.rows),
            "kv_cache_memory_bytes": 1 << 30,
            "dtype": self.args.dtype,
        } | ({"enforce_eager": True} if base["enforce_eager"] else {})

    def process(self, command: Sequence[Any], base: Settings) -> str:
        """What Python says that runs with all cores and no thread bound to one."""
        paths = [str(HERE), str(HERE.parent / "src"), *filter(None, sys.path)]
        settings = {
            "OMP_NUM_THREADS": str(self.args.threads),
            "PYTHONPATH": os.pathsep.join(paths),
            "TOKENIZERS_PARALLELISM": "false",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(not base["one_process"])),
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_PLUGINS": "",  # arctic-inference would patch what is measured
        }
        log = self.work / "log"
        with log.open("wb") as file:
            ended = subprocess.run(
                [sys.executable, *command], env=os.environ | settings, stdout=file, stderr=file
            )
        told = log.read_text(errors="replace")
        if ended.returncode:
            raise SystemExit(told[-4000:])
        return told

    def note(self, run: Run) -> None:
        self.runs.append(run)
        with self.kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")

    def report(self, done: Sequence[Run], chosen: Mapping[str, Settings]) -> dict[str, Any]:
        """Medians over the repeats, by number at a time and contender."""
        found: dict[str, dict[str, Any]] = {}
        for rows in self.rows:
            runs = {
                name: [run for run in done if (run["name"], run["rows"]) == (name, rows)]
                for name in self.names
            }
            plain = checksums(runs["none"][0]) if "none" in runs else None
            found[str(rows)] = {
                name: summary(own, self.distinct, plain) for name, own in runs.items()
            }
        return {
            "task": self.args.traces.stem,
            "dtype": self.args.dtype,
            "machine": machine(),
            "threads": self.args.threads,
            "requests": len(self.asked),
            "distinct": self.distinct,
            "prompt_tokens": sum(map(len, self.asked)) / len(self.asked),
            "repeats": self.args.repeats,
            "tuned_on": self.args.tune,
            "settings": chosen,
            "at_a_time": found,
        }


def ordered(traces: Sequence[Trace], count: int) -> Iterator[Trace]:
    """`count` of them in a fixed random order, and each once before any is repeated."""
    dice = random.Random(0)
    while count > 0:
        yield from dice.sample(traces, min(count, len(traces)))
        count -= len(traces)


def speculation(name: str, settings: Settings, bundle: Path, price: str | None) -> dict[str, Any]:
    """A contender in vLLM's own words."""
    if name == "none":
        return {}
    if name == "ngram":
        more = {"prompt_lookup_max": 5}
        return {"speculative_config": {"method": "ngram", **settings, **more}}
    if name == "suffix":
        return {"speculative_config": {"method": "suffix", **settings}}
    options = {"bundle": str(bundle), **settings}
    most = options.pop("num_speculative_tokens")
    if name == "tascel" and price:
        options["price"] = price
    model, key = {
        "warmed": ("warmed_suffix.Proposer", "warmed_suffix"),
        "tascel": ("tascel.plugins.vllm.Proposer", "tascel"),
    }[name]
    config = {"method": "custom_class", "model": model, "num_speculative_tokens": most}
    return {"speculative_config": config, "additional_config": {key: options}}


# Numbers


def speed(run: Run, first: int = 0, last: int | None = None) -> float:
    """Tokens a second of the requests that ended as number `first` to before `last`."""
    ended = run["requests"][first:last]
    started = run["requests"][first - 1][1] if first else 0.0
    return sum(tokens for _, _, tokens, _ in ended) / (ended[-1][1] - started)


def checksums(run: Run) -> dict[int, int]:
    return {request: checksum for request, _, _, checksum in run["requests"]}


def summary(runs: Sequence[Run], distinct: int, plain: Mapping[int, int] | None) -> Run:
    """Medians of one contender's runs. `differ` are answers unlike those of none's first run."""
    count = len(runs[0]["requests"])
    speeds = [speed(run) for run in runs]
    counted = {name: median(run["counters"][name] for run in runs) for name in runs[0]["counters"]}
    return {
        "settings": runs[0]["settings"],
        "tokens_per_second": median(speeds),
        "least_most": [min(speeds), max(speeds)],
        "first": median(speed(run, 0, WINDOW) for run in runs),
        "last": median(speed(run, max(0, count - WINDOW)) for run in runs),
        "last_distinct": median(speed(run, max(0, distinct - WINDOW), distinct) for run in runs),
        "curve": [
            [end, round(float(np.median([speed(run, 0, end) for run in runs])), 1)]
            for end in range(POINT, count + 1, POINT)
        ],
        "tokens": sum(request[2] for request in runs[0]["requests"]),
        "differ": None if plain is None else max(
            sum(plain[request] != checksum for request, checksum in checksums(run).items())
            for run in runs
        ),
        **counted,
    }  # fmt: skip


def show(report: Mapping[str, Any]) -> None:
    """Tokens a second and their ratio to none's, overall, first and last."""
    print(f"{report['task']}: {report['requests']} requests, {report['distinct']} distinct")
    for rows, by_name in report["at_a_time"].items():
        print(f"{rows} at a time: tok/s, ×none, first {WINDOW}, last {WINDOW}, last before repeats")
        base = by_name.get("none", next(iter(by_name.values())))["tokens_per_second"]
        for name, row in by_name.items():
            parts = [row[part] for part in ("first", "last", "last_distinct")]
            print(f"  {name:8} {row['tokens_per_second']:7.1f} "
                  f"{row['tokens_per_second'] / base:5.2f} "
                  + " ".join(f"{part:7.1f}" for part in parts)
                  + f"  differ {row['differ']}")  # fmt: skip


if __name__ == "__main__":
    main()
