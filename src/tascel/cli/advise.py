"""`tascel advise`: which engine would answer these requests soonest, here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tascel.cli import options
from tascel.cli.console import err, out, plain_table, progress, write_json

if TYPE_CHECKING:
    from rich.table import Table


def advise(
    traces: options.Traces,
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            help="Hugging Face id or folder, folder of `tascel export --to openvino`, or GGUF "
            "file; may be given several times. One that is no GGUF has to be there.",
        ),
    ],
    adapter: options.Adapter = None,
    limit: Annotated[int, typer.Option(min=1, help="Replay so many held-out answers.")] = 100,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Compare the engines that `tascel profile` measured here, on held-out answers of TRACES, and
    recommend one. Runs no model."""
    from tascel.advise.engines import advise as run
    from tascel.traces.read import BadLines, read_traces

    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    with progress() as show:
        content = run(stream, model, adapter=adapter, limit=limit, named=traces, progress=show)
    if bad.count:
        err.print(str(bad), markup=False)
    write_json(json, content)
    if content["engines"]:
        out.print(_table(content))
    for entry in content["to_measure"]:
        _say(f"not measured: {entry['engine']} with {entry['model']}: {entry['do']}")
    for entry in content["absent"]:
        _say(f"without {entry['engine']}: {entry['do']}")
    _say(content["recommendation"]["words"])
    for command in content["recommendation"]["commands"]:
        _say(f"  {command}")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(content: dict[str, Any]) -> Table:
    from tascel.advise.report import title

    table = plain_table(
        f"{content['replayed']} held-out answers of {content['answer_tokens']:.0f} tokens, prompts "
        f"of {content['prompt_tokens']}; estimated from measured passes",
        ("ms an answer", "without drafts", "reading", "a token", "per pass"),
    )
    for line in content["engines"]:
        table.add_row(
            title(line),
            f"{line['drafted_ms']:,.0f}",
            f"{line['plain_ms']:,.0f}",
            f"{line['reading_ms']:,.0f}",
            f"{line['step_ms']:.1f}",
            f"{line['tokens_per_pass']:.2f}",
        )
    return table
