"""`tascel merge`: several bundles become one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tascel.cli.console import err, out, progress


def merge(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE BUNDLE…", help="Two bundles or more.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new bundle's folder.")],
) -> None:
    """Make one bundle of several, as if it had been built on the traces of all."""
    from tascel.building.merge import merge as run

    unlike: list[str] = []
    with progress() as report:
        bundle = run(bundles, output, command=sys.argv, warn=unlike.append, progress=report)
    for message in unlike:
        err.print(message, markup=False, soft_wrap=True)
    counts = bundle.manifest.counts
    out.print(
        f"{output}: {counts['outputs']:,} outputs ({counts['distinct_outputs']:,} distinct), "
        f"{counts['tokens']:,} tokens, {len(bundle.tasks) or 'no'} tasks; see SUMMARY.md there",
        markup=False,
    )
