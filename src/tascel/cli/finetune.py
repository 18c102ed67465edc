"""`tascel finetune`: train a model on a task's traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from tascel.cli import options
from tascel.cli.console import err, out, progress


def finetune(
    traces: options.Traces,
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The result's folder.")],
    new_tokens: options.NewTokensOrFile = "0",
    init: Annotated[
        str, typer.Option(help="How their rows begin: mean, directional or head-first.")
    ] = "directional",
    row_rate: Annotated[
        float, typer.Option(min=0.0, help="How many times faster than the adapter they learn.")
    ] = 5.0,
    method: Annotated[str, typer.Option(help="lora, qlora (4-bit base) or full.")] = "lora",
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="Write the adapter, not a merged model.")
    ] = False,
    epochs: Annotated[float, typer.Option(min=0.001, help="Passes over the traces.")] = 1.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many batches instead.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Traces a step and process.")] = 16,
    lr: Annotated[
        float | None,
        typer.Option(min=0.0, help="Highest learning rate; default 1e-3, for full 2e-5."),
    ] = None,
    rank: Annotated[int, typer.Option(min=1, help="The adapter's rank.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the order and the first weights.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Draw so many traces at most.")] = None,
    valid: Annotated[
        int, typer.Option(min=0, help="Traces held out to choose the best checkpoint; 0: none.")
    ] = 256,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after so many checkpoints that are no better.")
    ] = 3,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
    ] = False,
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
        learning_rate=lr or (2e-5 if method == "full" else 1e-3),
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
    if bad.count:
        err.print(str(bad), markup=False)
    if trained.too_long:
        err.print(f"left out {trained.too_long:,} longer than {config.max_length:,} tokens")
    if trained.new_tokens:
        err.print(f"{trained.new_tokens:,} new tokens")
    if trained.untied:
        err.print(f"the head has a matrix of its own now: {trained.untied:,} parameters more")
    kept = f", kept {trained.best}" if trained.best else ""
    out.print(
        f"{output}: {trained.steps:,} steps over {trained.examples:,} traces in "
        f"{trained.seconds:,.0f} s, {trained.parameters:,} parameters trained, loss "
        f"{trained.loss:.4f}{kept}",
        soft_wrap=True,
    )
