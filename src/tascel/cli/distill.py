"""`tascel distill`: small models that draft for a large one, for each task of a bundle."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out, plain_table, progress, write_json
from tascel.errors import RequestError

if TYPE_CHECKING:
    from tascel.adapt.distill.config import Distilled, TaskResult


def distill(
    bundle: options.Bundle,
    traces: options.Traces,
    model: options.Model,
    adapter: options.Adapter = None,
    layers: Annotated[
        str, typer.Option(help="Depths to try: how many of the model's first layers a draft has.")
    ] = "2,4",
    steps: Annotated[
        int, typer.Option(min=1, help="Batches to learn from; a task's own half as many more.")
    ] = 200,
    rank: Annotated[int, typer.Option(min=1, help="The adapter's rank.")] = 16,
    lr: Annotated[float, typer.Option(min=0.0, help="Highest learning rate.")] = 2e-3,
    batch: Annotated[int, typer.Option(min=1, help="Answers a step.")] = 16,
    limit: Annotated[
        int, typer.Option(min=1, help="Draw so many answers of each task at most.")
    ] = 1000,
    tried: Annotated[
        int, typer.Option(min=1, help="Held-out answers of each task to judge on.")
    ] = 40,
    max_tokens: options.MaxTokens = 256,
    outputs: Annotated[
        bool,
        typer.Option("--traces-are-outputs", help="TRACES hold what MODEL answers: do not ask it."),
    ] = False,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Store every draft, for benchmarks.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn and of the first weights.")] = 0,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Train drafts for MODEL out of its own first layers, on its own answers to the prompts of
    TRACES, and store in BUNDLE those that beat its n-grams on held-out answers, task by task."""
    from tascel.adapt.distill.config import DistillConfig, Target
    from tascel.adapt.distill.distill import distill as run
    from tascel.draft.ngram import DraftConfig
    from tascel.loading import load
    from tascel.traces.read import BadLines, read_traces

    config = DistillConfig(
        layers=_depths(layers),
        steps=steps,
        rank=rank,
        learning_rate=lr,
        batch=batch,
        limit=limit,
        tried=tried,
        max_tokens=max_tokens,
        traces_are_outputs=outputs,
        keep_all=keep_all,
        seed=seed,
    )
    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    with progress() as report:
        runner = load(
            bundle, model=model, adapter=adapter, head="full", config=DraftConfig(neural_bytes=0),
            profile=lambda done, total: report("measuring the verify cost", done, total),
        )  # fmt: skip
        target = Target(runner.model, runner.engine, runner.price, runner.setting.weights)
        done = run(bundle, stream, runner.codec, target, config, report)
    if bad.count:
        err.print(str(bad), markup=False)
    for task in done.tasks:
        _show(task)
    _tell(done)
    write_json(json, asdict(done))


def _depths(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise RequestError(f"--layers {text} are no numbers", "Give for example --layers 2,4")
    return tuple(dict.fromkeys(map(int, parts)))


def _show(task: TaskResult) -> None:
    heads = ("per pass", "accepted", "of 4: first", "of 4: all", "speed-up")
    name = "" if task.task is None else f"{task.task}: "
    table = plain_table(
        f"{name}{task.held_out} held-out answers, {task.train:,} learned from", heads
    )
    for way in task.ways:
        table.add_row(
            f"{way.name}{' *' if way.name == task.chosen else ''}",
            f"{way.tokens_per_pass:.2f}",
            _share(way.accepted or None),
            _share(way.chain_first),
            _share(way.chain_accepted),
            f"{way.speedup:.2f}×",
        )
    out.print(table)


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _tell(done: Distilled) -> None:
    steps = ", ".join(
        f"{made.name} {made.step:.2f}" for made in done.drafts if "own" not in made.name
    )
    what = "the bundle has neural drafts now" if done.stored else "the bundle has no neural draft"
    out.print(
        f"\n* serves from now on; {what}. A pass of a draft, in passes of the model: {steps}. "
        "Estimated along known answers, each draft's own passes included; of 4: where each drafts "
        "chains of four tokens, whatever they cost.",
        soft_wrap=True,
    )
