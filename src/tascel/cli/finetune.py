"""`tascel finetune`: train a model on a task's traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from tascel.cli import options, training
from tascel.cli.console import err, progress


def finetune(
    traces: options.Traces,
    model: options.Model,
    output: training.Output,
    new_tokens: options.NewTokensOrFile = "0",
    init: training.Init = "directional",
    row_rate: training.RowRate = 5.0,
    method: Annotated[str, typer.Option(help="lora, qlora (4-bit base) or full.")] = "lora",
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="Write the adapter, not a merged model.")
    ] = False,
    epochs: training.Epochs = 1.0,
    steps: training.Steps = None,
    batch: training.Batch = 16,
    lr: training.Rate = None,
    rank: training.Rank = 8,
    seed: training.Seed = 0,
    limit: training.Limit = None,
    valid: training.Valid = 256,
    evaluate_every: training.EvaluateEvery = 100,
    patience: training.Patience = 3,
    resume: training.Resume = False,
    skip_bad: options.SkipBad = False,
) -> None:
    """Train MODEL on TRACES: on those of the split `train`, or that name no split.

    Checkpoints are judged by the split `valid`, or by traces held out of the others.
    """
    from tascel.adapt.train.config import FinetuneConfig
    from tascel.adapt.train.finetune import finetune as run
    from tascel.traces.read import BadLines, read_traces

    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    config = FinetuneConfig(
        new_tokens=0 if isinstance(new_tokens, Path) else new_tokens,
        init=init,
        row_rate=row_rate,
        method=cast(Literal["lora", "qlora", "full"], method),
        rank=rank,
        alpha=2 * rank,
        learning_rate=training.highest(lr, method),
        batch=batch,
        epochs=epochs,
        steps=steps,
        limit=limit,
        seed=seed,
        valid=valid,
        evaluate_every=evaluate_every,
        patience=patience,
        adapter_only=adapter_only,
    )
    with progress() as report:
        trained = run(
            stream,
            model,
            output,
            config,
            resume=resume,
            mined=new_tokens if isinstance(new_tokens, Path) else None,
            progress=report,
            on_evaluation=lambda evaluation: err.print(str(evaluation)),
        )
    training.report(output, trained, config, bad)
