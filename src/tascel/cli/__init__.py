"""The command line: one file a verb. Verbs only call; they import what they need when they run."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, TextIO

import typer
from rich.markup import escape

from tascel.cli import (
    advise,
    assets,
    bench,
    bridge,
    build,
    check,
    demo,
    distill,
    doctor,
    export,
    finetune,
    forget,
    generate,
    learn,
    merge,
    mine,
    profile,
    replay,
    serve,
    tailor,
    tasks,
    verify,
)
from tascel.cli.console import err
from tascel.errors import TascelError

app = typer.Typer(
    name="tascel",
    help="Makes small language models several times faster on one task, with the same answers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tascel {version('tascel')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for verb in (
    demo,
    build,
    learn,
    merge,
    forget,
    generate,
    serve,
    bench,
    replay,
    verify,
    profile,
    check,
    tasks,
    assets,
    mine,
    finetune,
    tailor,
    distill,
    export,
    advise,
    doctor,
):
    name = verb.__name__.rsplit(".", 1)[1]
    app.command(name)(getattr(verb, name))
app.add_typer(bridge.app, name="bridge")


def main() -> None:
    """Run a verb. Bad input ends with one message and exit code 1, an interruption with 130."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.showwarning = _show
    try:
        app()
    except TascelError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:  # a full disk, a file that may not be read
        err.print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted; nothing that existed was changed")
        sys.exit(130)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    err.print(f"warning: {message}", markup=False)
