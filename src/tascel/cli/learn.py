"""`tascel learn`: new traces, and what was learned online, go into a bundle's index."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out, progress


def learn(
    bundle: options.Bundle,
    traces: Annotated[
        str | None,
        typer.Argument(
            metavar="[TRACES]",
            help="New exchanges: JSONL or Parquet, plain or gzipped, or a folder.",
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="Leave out what is older than so many days.")
    ] = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Learn TRACES, and what was learned while serving, into BUNDLE."""
    from tascel.building.update import learn as run
    from tascel.traces.read import BadLines, read_traces

    bad = BadLines()
    stream = None if traces is None else read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    with progress() as report:
        done = run(bundle, stream, days=days, command=sys.argv, progress=report)
    if bad.count:
        err.print(str(bad), markup=False)
    if done.refused:
        err.print(f"left out {done.refused:,} traces that the model's chat template refuses")
    if not (done.read or done.served or done.left_out):
        out.print(f"{bundle}: nothing new, nothing was changed", markup=False)
        return
    out.print(
        f"{bundle}: learned {done.read:,} traces and {done.served:,} exchanges that were served, "
        f"left out {done.left_out:,}",
        markup=False,
        soft_wrap=True,
    )
    if done.dropped:
        out.print(
            "its tasks have changed, so the neural drafts went: `tascel distill` makes them anew",
            soft_wrap=True,
        )
