"""`tascel bench`: side by side with no drafts and with the peers."""

from __future__ import annotations

from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out, progress, rows_table, write_json


def bench(
    bundle: options.Bundle,
    prompts: options.Prompts,
    model: options.Model,
    adapter: options.Adapter = None,
    against: Annotated[
        str,
        typer.Option(help="Of none, transformers, prompt-lookup, tasc-paper; with commas between."),
    ] = "none,transformers,prompt-lookup",
    limit: options.Limit = None,
    split: options.Split = "test",
    max_tokens: options.MaxTokens = 256,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Answer PROMPTS with our draft, plainly and with the peers, interleaved, and compare."""
    from tascel.bench.compare import interleave, report
    from tascel.bench.contenders import contenders
    from tascel.bench.prompts import prompts as read
    from tascel.bench.prompts import requests
    from tascel.runner import load
    from tascel.traces.read import BadLines

    bad = BadLines()
    on_bad = bad.add if skip_bad else None
    with progress() as show:
        runner = load(
            bundle, model=model, adapter=adapter, dtype=dtype, device=device,
            profile=lambda done, total: show("measuring the verify cost", done, total),
        )  # fmt: skip
        others = [name.strip() for name in against.split(",")]
        names = ["none", *(n for n in others if n not in ("none", "tascel")), "tascel"]
        wanted = requests(runner, read(prompts, split, limit, on_bad), max_tokens, on_bad=on_bad)
        rounds = interleave(
            contenders(runner, names),
            wanted,
            lambda done, _: show("answering side by side", done, len(wanted)),
        )
    if bad.count:
        err.print(str(bad), markup=False)
    content = report(runner, rounds)
    write_json(json, content)
    out.print(rows_table(content["rows"], f"{content['examples']} prompts, {content['dtype']}"))
    unseen = content["unseen"]
    if 0 < unseen["examples"] < content["examples"]:
        title = f"the {unseen['examples']} of them whose answer does not stand in the bundle"
        out.print(rows_table(unseen["rows"], title))
