"""The whole main job on a real model and a real task, from registry packages only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tascel import assets
from tascel.bench.compare import Round, interleave, report
from tascel.bench.contenders import Watch, contenders
from tascel.builder import Progress, build
from tascel.bundle import Bundle
from tascel.cache import cache_folder
from tascel.demo import household
from tascel.loading import load
from tascel.runner import Runner
from tascel.traces.read import read_traces
from tascel.types import Request, Trace

NAMES = ["none", "transformers", "prompt-lookup", "tasc-paper", "tascel"]
MAX_TOKENS = 128


@dataclass(slots=True, eq=False)
class Demo:
    """The demo's parts, made in order: `prepare`, `learn`, `start`, `compare`.

    `progress` hears how far the stages are, `say` what is downloaded and converted.
    """

    progress: Progress
    say: assets.Say = lambda line: None
    folder: Path = field(default_factory=lambda: cache_folder("demo"))
    model: Path = Path()
    adapter: Path = Path()

    @property
    def traces(self) -> Path:
        """Where the sampled traces are."""
        return self.folder / "home_assistant.jsonl"

    @property
    def bundle(self) -> Path:
        """Where the bundle is built."""
        return self.folder / "bundle"

    def prepare(self) -> None:
        """Fetch the model, where that has not been done yet, and sample the task's traces."""
        self.model = assets.smollm2(self.say)
        self.adapter = household.adapter()
        self.progress("sampling voice commands", 0, None)
        household.write(self.traces, say=self.say)

    def learn(self) -> Bundle:
        """Build the bundle from the training traces."""
        return build(
            read_traces(self.traces),
            self.model,
            self.bundle,
            adapter=self.adapter,
            command=("tascel", "demo"),
            progress=self.progress,
        )

    def start(self) -> Runner:
        """Load model, adapter and bundle."""
        return load(
            self.bundle,
            model=self.model,
            adapter=self.adapter,
            dtype="bfloat16",
            profile=lambda done, total: self.progress("measuring the verify cost", done, total),
        )

    def held_out(self, limit: int) -> list[Trace]:
        """Test traces: sentence templates that were never trained on."""
        test = [t for t in read_traces(self.traces) if t.split == "test"]
        step = max(1, len(test) // limit)
        return test[::step][:limit]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo measured: `content` is what `--json` writes."""

    content: dict[str, Any]
    rounds: list[Round]


def compare(
    runner: Runner,
    traces: list[Trace],
    watch: Watch | None = None,
    progress: Callable[[int, Round], None] = lambda done, round_: None,
) -> Outcome:
    """Answer the same prompts with everyone; score intent and slots."""
    requests: list[Request] = [
        runner.request(t.messages, tools=t.tools, max_tokens=MAX_TOKENS) for t in traces
    ]
    rounds = interleave(runner, contenders(runner, NAMES, watch), requests, progress)
    exact = [
        household.exact(runner.codec.decode(r["tascel"].tokens), str((t.answer or {})["content"]))
        for r, t in zip(rounds, traces, strict=True)
    ]
    content = report(runner, rounds)
    content["accuracy"] = {"exact": sum(exact), "of": len(exact)}
    return Outcome(content, rounds)
