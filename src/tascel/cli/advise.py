"""`tascel advise`: what would help with these requests, here, before anything is built?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, progress, write_json


def advise(
    traces: options.Traces,
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            help="Hugging Face id or folder, one with a tokenizer alone, folder of `tascel export "
            "--to openvino`, or GGUF file; may be given several times. One that is no GGUF has to "
            "be there.",
        ),
    ],
    adapter: options.Adapter = None,
    limit: Annotated[int, typer.Option(min=1, help="Replay so many held-out answers.")] = 100,
    json: options.Json = None,
    html: options.Html = None,
    plots: options.Plots = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Say what TRACES are like, what drafts, new tokens or a smaller vocabulary would bring, which
    of the engines that `tascel profile` measured here answers soonest, and what to do. Runs no
    model."""
    from tascel.advise.advise import advise as run
    from tascel.cli.advice import show
    from tascel.report import advice, page
    from tascel.traces.read import BadLines, read_traces

    page.ready(html, plots)
    _tell_compiling()
    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    with progress() as report:
        content = run(stream, model, adapter=adapter, limit=limit, named=traces, progress=report)
    if bad.count:
        err.print(str(bad), markup=False)
    write_json(json, content)
    show(content)
    if html or plots:
        page.write(advice.advise(content), html, plots)


def _tell_compiling() -> None:
    """Why nothing seems to happen at first, where no kernel is kept beside the sources yet."""
    from tascel.draft import kernels

    if not any((Path(kernels.__file__).parent / "__pycache__").glob("*.nbi")):
        err.print(
            "The drafts' kernels are compiled first, once on this machine: two minutes of a core",
            soft_wrap=True,
        )
