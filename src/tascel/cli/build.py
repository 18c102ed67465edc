"""`tascel build`: learn a task from its traces."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out, progress


def build(
    traces: options.Traces,
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle's folder.")],
    adapter: options.Adapter = None,
    own_outputs: Annotated[
        int, typer.Option(min=0, help="Let the model answer so many training prompts itself.")
    ] = 0,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Quote no n-grams in SUMMARY.md or as names of tasks.")
    ] = False,
    tasks: Annotated[
        str,
        typer.Option(
            help="auto: the traces' own `task` labels if they differ, else found; find: ignore "
            "labels; one: take everything for one task."
        ),
    ] = "auto",
    max_tokens: options.MaxTokens = 512,
    large: options.Large = None,
    skip_bad: options.SkipBad = False,
    workers: options.Workers = "1",
) -> None:
    """Learn the task of TRACES for a model and write a bundle."""
    from tascel.builder import BuildConfig
    from tascel.builder import build as run
    from tascel.traces.read import BadLines

    bad = BadLines()
    config = BuildConfig(
        own_outputs=own_outputs, text=not no_text, max_tokens=max_tokens, tasks=tasks
    )
    with progress() as report:
        bundle = run(
            traces, model, output, adapter=adapter, config=config, command=sys.argv,
            large=large, progress=report, workers=workers, skip_bad=skip_bad, on_bad=bad.add,
        )  # fmt: skip
    if bad.count:
        err.print(str(bad), markup=False)
    counts = bundle.manifest.counts
    if counts["refused"]:
        err.print(f"left out {counts['refused']:,} traces that the model's chat template refuses")
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    out.print(
        f"{output}: {counts['outputs']:,} outputs ({counts['distinct_outputs']:,} distinct, "
        f"{counts['own_outputs']:,} the model's own), {counts['tokens']:,} tokens, "
        f"{size / 1e6:.1f} MB; see SUMMARY.md there"
    )
    if bundle.tasks:
        out.print(f"{len(bundle.tasks)} tasks: `tascel tasks {output}` lists them")
