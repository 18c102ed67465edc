"""What the verbs that train share: their options, and what they say at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tascel.cli.console import err, out

if TYPE_CHECKING:
    from tascel.adapt.train.config import FinetuneConfig, Trained
    from tascel.traces.read import BadLines

Output = Annotated[Path, typer.Option("--output", "-o", help="The result's folder.")]
Init = Annotated[str, typer.Option(help="How their rows begin: mean, directional or head-first.")]
RowRate = Annotated[
    float, typer.Option(min=0.0, help="How many times faster than the adapter they learn.")
]
Epochs = Annotated[float, typer.Option(min=0.001, help="Passes over the traces.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Stop after so many batches instead.")]
Batch = Annotated[int, typer.Option(min=1, help="Traces a step and process.")]
Rate = Annotated[
    float | None, typer.Option(min=0.0, help="Highest learning rate; default 1e-3, for full 2e-5.")
]
Rank = Annotated[int, typer.Option(min=1, help="The adapter's rank.")]
Seed = Annotated[int, typer.Option(help="Of the order and the first weights.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Draw so many traces at most.")]
Valid = Annotated[
    int, typer.Option(min=0, help="Traces held out to choose the best checkpoint; 0: none.")
]
EvaluateEvery = Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")]
Patience = Annotated[
    int, typer.Option(min=1, help="Stop after so many checkpoints that are no better.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
]


def highest(lr: float | None, method: str) -> float:
    """The learning rate, if none was said."""
    return lr or (2e-5 if method == "full" else 1e-3)


def report(output: Path, trained: Trained, config: FinetuneConfig, bad: BadLines) -> None:
    """What was left out and added on standard error, and the result on standard output."""
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
