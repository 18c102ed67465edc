"""Engines side by side on one machine, one request at a time, each in a process of its own.

    python benchmarks/engines.py FOLDER home_assistant=TRACES snips=TRACES sql_advising=TRACES \
        --python vllm=build/vllm/bin/python --python genai=… --tune 6 --json results/engines.json

`make bench-engines` makes what has to lie in FOLDER: models/TASK, bundles/TASK,
openvino/TASK-FORM, genai/TASK-FORM and gguf/TASK-FORM.gguf, all of the same model of each task.

Every contender answers a prompt before the next one, another one first each time, and the others
stand still meanwhile. With `--tune N` every setting that a contender has is tried on N training
prompts that the bundles then have not seen, and the fastest is taken; a test prompt is asked once.
What was run is kept beside the JSON file, one line an answer: stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engines_contenders import CONTENDERS, Settings
from engines_numbers import show, summary
from engines_process import Worker
from vllm_speed import speculation

from tascel.builder import build
from tascel.codec import Codec
from tascel.engines.profile import machine
from tascel.traces.folds import folds, groups
from tascel.traces.read import read_traces
from tascel.types import Trace

Line = dict[str, Any]
#: So many training prompts each contender answers before the clock counts.
WARM_UP = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("traces", nargs="+", metavar="TASK=TRACES")
    parser.add_argument("--python", action="append", default=[], metavar="KIND=PYTHON")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--split", default="test", choices=("test", "train"))
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--fewer", action="append", default=[], metavar="[NAME][@TASK]=N")
    parser.add_argument("--tune", type=int, default=0, metavar="N")
    parser.add_argument("--tune-on", metavar="TASK", help="tune on this one for all of them")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    report = {
        "machine": machine(),
        "threads": args.threads,
        "split": args.split,
        "tuned_on": args.tune,
        "tuned_with": args.tune_on,
        "max_tokens": args.max_tokens,
        "tasks": {},
    }
    kept = Kept(args.json.with_suffix(".runs.jsonl"))
    pairs = [pair.partition("=")[::2] for pair in args.traces]
    benches = {task: Bench(args, kept, task, traces) for task, traces in pairs}
    for task, bench in benches.items():
        tuner = benches[args.tune_on or task]
        report["tasks"][task] = bench.report({name: tuner.tuned(name) for name in bench.names})
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report)


class Kept:
    """What was run, a line each, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.lines: list[Line] = [json.loads(line) for line in lines]

    def find(self, key: Mapping[str, Any]) -> Line | None:
        """The last line that says all of `key`."""
        return next((line for line in reversed(self.lines) if key.items() <= line.items()), None)

    def add(self, line: Line) -> None:
        self.lines.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class Bench:
    """One task."""

    def __init__(self, args: argparse.Namespace, kept: Kept, task: str, traces: str) -> None:
        self.args, self.kept, self.task = args, kept, task
        self.pythons = dict(pair.split("=", 1) for pair in args.python)
        self.names: list[str] = args.contenders.split(",")
        fewer = dict(pair.rsplit("=", 1) for pair in args.fewer)
        at_most = fewer.get(f"@{task}", args.prompts)
        self.most = {
            name: int(fewer.get(f"{name}@{task}", fewer.get(name, at_most))) for name in self.names
        }
        self.codec = Codec.from_pretrained(args.folder / "models" / task)
        split = list(read_traces(traces))
        train = [trace for trace in split if trace.split == "train"]
        held = folds(groups(train), 10) == 0
        self.rest = [trace for trace, out in zip(train, held, strict=True) if not out]
        self.held = shuffled([trace for trace, out in zip(train, held, strict=True) if out])
        test = shuffled([trace for trace in split if trace.split == "test"])
        asked = test if args.split == "test" else self.held[WARM_UP:]
        self.asked = asked[: max(self.most.values())]

    def report(self, chosen: Mapping[str, Settings]) -> dict[str, Any]:
        entrants = [(name, chosen[name]) for name in self.names]
        answers = self.answers(self.args.split, entrants, self.asked, "")
        used = [self.used(self.args.split, *one) for one in entrants]
        return {
            "prompts": len(self.asked),
            "prompt_tokens": sum(map(len, self.prompts(self.asked))) / len(self.asked),
            "rows": [
                summary(name, answers, line or {}, self.asked, self.codec) | {"settings": settings}
                for (name, settings), line in zip(entrants, used, strict=True)
            ],
        }

    def tuned(self, name: str) -> Settings:
        """The contender's fastest settings on training prompts that it has never seen."""
        tried = CONTENDERS[name].settings
        if not self.args.tune or len(tried) == 1:
            return tried[0]
        prompts = self.held[WARM_UP : WARM_UP + self.args.tune]
        answers = self.answers("tune", [(name, one) for one in tried], prompts, "-tuning")
        total = [sum(line["seconds"] for line in own.values()) for own in answers.values()]
        print(self.task, name, dict(zip(answers, total, strict=True)), flush=True)
        return tried[total.index(min(total))]

    def answers(
        self, kind: str, entrants: Sequence[tuple[str, Settings]], traces: Sequence[Trace],
        bundle: str,
    ) -> dict[str, dict[int, Line]]:  # fmt: skip
        """What each entrant said to each prompt by its number; what is kept is not asked again."""
        labels = [name if kind != "tune" else json.dumps(one) for name, one in entrants]
        prompts = self.prompts(traces)
        found: dict[str, dict[int, Line]] = {label: {} for label in labels}
        missing = dict.fromkeys(labels, 0)
        for (label, entrant), at in product(zip(labels, entrants, strict=True), range(len(traces))):
            if kind != "tune" and at >= self.most[entrant[0]]:
                continue
            line = self.kept.find(self.key(kind, *entrant, at=at))
            if line is None:
                missing[label] += 1
            else:
                found[label][at] = line
        with ExitStack() as stack, TemporaryDirectory() as logs:
            workers: dict[str, Worker] = {}
            for number, (label, entrant) in enumerate(zip(labels, entrants, strict=True)):
                unknown = kind != "tune" and self.used(kind, *entrant) is None
                if missing[label] or unknown:
                    log = Path(logs) / str(number)
                    workers[label] = stack.enter_context(self.worker(*entrant, bundle, log))
            of = dict(zip(labels, entrants, strict=True))
            for at, label in turns(list(workers), len(traces)):
                if at in found[label] or (kind != "tune" and at >= self.most[of[label][0]]):
                    continue
                ids, seconds = workers[label].ask(prompts[at], self.args.max_tokens)
                line = self.key(kind, *of[label], at=at) | {"ids": ids, "seconds": seconds}
                found[label][at] = line
                self.kept.add(line)
            for label, worker in workers.items():
                used = {"loaded": worker.loaded} | worker.memory()
                self.kept.add(self.key(kind, *of[label], kind="used") | used)
        return found

    def used(self, kind: str, name: str, settings: Settings) -> Line | None:
        """What an entrant took to load and in memory, when it was last asked."""
        return self.kept.find(self.key(kind, name, settings, kind="used"))

    def worker(self, name: str, settings: Settings, bundle: str, log: Path) -> Worker:
        """The contender, loaded and warmed up."""
        contender, options = CONTENDERS[name], dict(settings)
        form = options.pop("form", "")
        folder: Path = self.args.folder
        learned = folder / "bundles" / f"{self.task}{bundle}"
        if bundle and not learned.exists() and (contender.bundle or contender.kind == "vllm"):
            build(iter(self.rest), str(folder / "models" / self.task), learned)
        if contender.kind == "vllm":
            options = self.vllm(options, learned)
        job = {
            "kind": contender.kind,
            "model": str(folder / contender.model.format(task=self.task, form=form)),
            "settings": options,
            "context": self.args.context,
            "threads": self.args.threads,
            "eos": sorted(self.codec.eos_ids),
        } | ({"bundle": str(learned)} if contender.bundle else {})
        python = self.pythons.get(contender.kind, sys.executable)
        worker = Worker(python, job, self.args.threads, log)
        print(f"{self.task} {name} {dict(settings)}: {worker.loaded:.1f} s to load", flush=True)
        for prompt in self.prompts(self.held[:WARM_UP]):
            worker.ask(prompt, self.args.max_tokens)
        return worker

    def vllm(self, options: dict[str, Any], bundle: Path) -> dict[str, Any]:
        """What vLLM is started with."""
        return {
            "max_model_len": self.args.context,
            "max_num_seqs": 1,
            "kv_cache_memory_bytes": 1 << 28,
            "enable_prefix_caching": False,
            "dtype": "bfloat16",
        } | speculation(options.pop("method"), options, bundle.resolve(), None)

    def prompts(self, traces: Sequence[Trace]) -> list[list[int]]:
        return [self.codec.prompt(trace.messages, trace.tools).tolist() for trace in traces]

    def key(self, run: str, name: str, settings: Settings, **more: Any) -> Line:
        told = {"max_tokens": self.args.max_tokens, "threads": self.args.threads}
        return {"run": run, "task": self.task, "name": name, "settings": settings} | told | more


def turns(labels: Sequence[str], prompts: int) -> Iterator[tuple[int, str]]:
    """Who answers which prompt, prompt by prompt, another one first each time."""
    for at in range(prompts):
        turn = at % max(1, len(labels))
        yield from ((at, label) for label in [*labels[turn:], *labels[:turn]])


def shuffled(traces: Sequence[Trace]) -> list[Trace]:
    return random.Random(0).sample(traces, len(traces))


if __name__ == "__main__":
    main()
