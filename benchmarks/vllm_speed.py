"""vLLM on one task: without drafts, with its own, with a warmed suffix tree, and with tascel's.

    python benchmarks/vllm_speed.py TRACES --model DIR --tune 40 --json FILE    # where vLLM is

The same requests in the same order, 1, 4, 8 and 16 at a time. Every run is a process of its own, so
nothing learned online outlives it; repeats are interleaved and medians told. The prompts are those
of the split `test`, shuffled, each once before any is asked again. Who learns nothing meanwhile
answers only the first `--still` of them. With `--tune N` first every setting in `GRIDS` of vLLM's
ngram and of the warmed tree answers N held-out training prompts, which then nobody has learned
from, and the fastest is taken, for few requests at a time and for many. `suffix` runs as it ships,
and tascel has nothing to tune.

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
from tempfile import TemporaryDirectory
from typing import Any

from vllm_numbers import WINDOW, Run, checksums, show, speed, summary, window_of

from tascel.builder import build
from tascel.codec import Codec
from tascel.engines.profile import machine
from tascel.traces.folds import folds, groups
from tascel.traces.read import read_traces
from tascel.types import Trace

HERE = Path(__file__).parent
Settings = Mapping[str, Any]


def _grid(**values: Sequence[Any]) -> list[Settings]:
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


#: How vLLM itself may run on a CPU: compiled or not, the engine in this process or its own.
BASES: Mapping[str, Settings] = {
    "compiled": {"enforce_eager": False, "one_process": True},
    "eager": {"enforce_eager": True, "one_process": True},
    "two-processes": {"enforce_eager": False, "one_process": False},
}
#: A contender's settings, the first as it ships or as we would start it. For tuning, all of them.
GRIDS: Mapping[str, Sequence[Settings]] = {
    "none": [{}],
    "ngram": _grid(num_speculative_tokens=(5, 3, 10), prompt_lookup_min=(2,)),
    "suffix": [{}],
    "warmed": _grid(
        num_speculative_tokens=(32,),
        max_tree_depth=(64,),
        max_spec_factor=(1.0, 2.0, 4.0),
        min_token_prob=(0.3, 0.1),
    ),
    "tascel": [{"num_speculative_tokens": 32}],
}
#: These learn nothing from the requests before, and answer only so many: those of the first window
#: are answered while the others still run.
STILL, STILL_ASKED = ("none", "ngram"), WINDOW + 16
#: So many at a time are tuned for, and what is found is taken up to there.
TUNED = (4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--price", help="tascel's price file; default: measured first")
    parser.add_argument("--contenders", default=",".join(GRIDS))
    parser.add_argument("--concurrency", default="1,4,8,16")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--still", type=int, default=STILL_ASKED, metavar="N")
    parser.add_argument("--base", choices=BASES, default="compiled")
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
        self.base = BASES[args.base]
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
        for rows, name in product(TUNED, self.names):
            tried = GRIDS[name]
            if len(tried) > 1:
                runs = [self.run("tune", name, rows, 0, s, prompts, "tuning") for s in tried]
                chosen[f"{name} {rows}"] = max(runs, key=speed)["settings"]
        return chosen

    def settings(self, chosen: Mapping[str, Settings], name: str, rows: int) -> Settings:
        """What was tuned for the least number at a time that is not below."""
        for most in TUNED:
            if rows <= most and f"{name} {most}" in chosen:
                return chosen[f"{name} {most}"]
        return GRIDS[name][0]

    def compare(self, chosen: Mapping[str, Settings]) -> list[Run]:
        """Run every contender as often as asked, another one first each time."""
        done: list[Run] = []
        for repeat, rows in product(range(self.args.repeats), self.rows):
            turn = repeat % len(self.names)
            for name in self.names[turn:] + self.names[:turn]:
                if name == "tascel" and not self.args.price:
                    self.measure()
                settings = self.settings(chosen, name, rows)
                asked = self.asked[: self.args.still] if name in STILL else self.asked
                done.append(self.run("run", name, rows, repeat, settings, asked, "bundle"))
        return done

    def run(
        self, kind: str, name: str, rows: int, repeat: int, settings: Settings,
        prompts: list[list[int]], bundle: str,
    ) -> Run:  # fmt: skip
        """That run, from the file of runs or from vLLM."""
        key = {"kind": kind, "name": name, "rows": rows, "repeat": repeat, "settings": settings,
               "base": self.base, "asked": len(prompts)}  # fmt: skip
        for run in self.runs:
            if key.items() <= run.items():
                return run
        drafts = speculation(name, settings, self.work / bundle, self.args.price)
        job = {
            "model": self.args.model,
            "engine": self.engine() | drafts,
            "prompts": prompts,
            "concurrency": rows,
            "max_tokens": self.args.max_tokens,
        }
        asked, told = self.work / "job.json", self.work / "run.json"
        asked.write_text(json.dumps(job))
        self.process([HERE / "vllm_run.py", asked, told])
        run = key | json.loads(told.read_text())
        self.note(run)
        what = " ".join(f"{key}={value}" for key, value in settings.items())
        print(f"{kind} {name} x{rows} {what}: {speed(run):.1f} tok/s", flush=True)
        return run

    def measure(self) -> None:
        """See that tascel knows what a pass costs in this vLLM: once, before anything is timed."""
        key = {"kind": "price", "base": self.base}
        if not any(key.items() <= run.items() for run in self.runs):
            flags = [f"--{name.replace('_', '-')}={value}"
                     for name, value in self.engine().items() if value is not True]  # fmt: skip
            flags += ["--enforce-eager"] if self.base["enforce_eager"] else []
            verb = ["-m", "tascel", "profile", "--engine", "vllm", "--model", self.args.model]
            self.note(key | {"told": self.process([*verb, "--", *flags])})

    def engine(self) -> dict[str, Any]:
        """What all runs give to vLLM."""
        return {
            "max_model_len": self.args.max_model_len,
            "max_num_seqs": max(*self.rows, *TUNED),
            "kv_cache_memory_bytes": 1 << 30,
            "dtype": self.args.dtype,
        } | ({"enforce_eager": True} if self.base["enforce_eager"] else {})

    def process(self, command: Sequence[Any]) -> str:
        """What Python says that runs with all cores and no thread bound to one."""
        paths = [str(HERE), str(HERE.parent / "src"), *filter(None, sys.path)]
        settings = {
            "OMP_NUM_THREADS": str(self.args.threads),
            "PYTHONPATH": os.pathsep.join(paths),
            "TOKENIZERS_PARALLELISM": "false",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(not self.base["one_process"])),
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_USE_AOT_COMPILE": "0",  # what 0.32 keeps of it on a CPU, it cannot load again
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
        window = window_of(len(self.asked))
        for rows in self.rows:
            runs = {
                name: [run for run in done if (run["name"], run["rows"]) == (name, rows)]
                for name in self.names
            }
            plain = checksums(runs["none"][0]) if "none" in runs else None
            found[str(rows)] = {
                name: summary(own, window, self.distinct, plain) for name, own in runs.items()
            }
        return {
            "task": self.args.traces.stem,
            "dtype": self.args.dtype,
            "machine": machine(),
            "threads": self.args.threads,
            "requests": len(self.asked),
            "distinct": self.distinct,
            "prompt_tokens": sum(map(len, self.asked)) / len(self.asked),
            "window": window,
            "repeats": self.args.repeats,
            "tuned_on": self.args.tune,
            "vllm": self.args.base,
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


if __name__ == "__main__":
    main()
