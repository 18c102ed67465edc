"""`tascel finetune`: train a LoRA adapter on a task's traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out, progress


def finetune(
    traces: options.Traces,
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The adapter's folder.")],
    epochs: Annotated[float, typer.Option(min=0.001, help="Passes over the traces.")] = 1.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many batches instead.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Traces a step.")] = 16,
    lr: Annotated[float, typer.Option(min=0.0, help="Highest learning rate.")] = 1e-3,
    rank: Annotated[int, typer.Option(min=1, help="The adapter's rank.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the order and the first weights.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many traces at most.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
    ] = False,
    skip_bad: options.SkipBad = False,
) -> None:
    """Train a LoRA adapter on TRACES: on those of the split `train`, or that name no split."""
    from tascel.adapt.train.lora import FinetuneConfig
    from tascel.adapt.train.lora import finetune as run
    from tascel.traces.read import BadLines, read_traces

    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    config = FinetuneConfig(
        rank=rank,
        alpha=2 * rank,
        learning_rate=lr,
        batch=batch,
        epochs=epochs,
        steps=steps,
        limit=limit,
        seed=seed,
    )
    with progress() as report:
        trained = run(
            (t for t in stream if t.split in (None, "train")),
            model,
            output,
            config,
            resume=resume,
            progress=report,
        )
    if bad.count:
        err.print(str(bad), markup=False)
    if trained.too_long:
        err.print(f"left out {trained.too_long:,} longer than {config.max_length:,} tokens")
    out.print(
        f"{output}: {trained.steps:,} steps over {trained.examples:,} traces in "
        f"{trained.seconds:,.0f} s, loss {trained.loss:.4f}",
        soft_wrap=True,
    )
