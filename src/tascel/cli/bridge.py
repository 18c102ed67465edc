"""`tascel bridge`: a large model reads the prompt once, a small one writes the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import out

app = typer.Typer(
    help="Let a large model read the prompt once and a small one write the answer.",
    no_args_is_help=True,
)


@app.command()
def cut(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Hugging Face id, or a folder with the model.")
    ],
    layers: Annotated[int, typer.Option(min=1, help="How many to keep, evenly spaced.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The result's folder.")],
    adapter: options.Adapter = None,
) -> None:
    """Write a smaller model of some of MODEL's layers, to be trained as the small one."""
    from tascel.adapt.cut_layers import cut_layers

    done = cut_layers(model, layers, output, adapter)
    out.print(
        f"{output}: layers {', '.join(map(str, done.layers))} of {done.layers_before}, "
        f"{done.parameters / 1e6:,.1f}M of {done.parameters_before / 1e6:,.1f}M parameters; "
        "it answers badly until it is trained",
        soft_wrap=True,
    )
