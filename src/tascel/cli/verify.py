"""`tascel verify`: is the output the same?"""

from __future__ import annotations

from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import out, progress, write_json


def verify(
    bundle: options.Bundle,
    prompts: options.Prompts,
    model: options.Model,
    adapter: options.Adapter = None,
    limit: options.Limit = None,
    split: options.Split = "test",
    max_tokens: options.MaxTokens = 256,
    dtype: options.Dtype = "float32",
    device: options.Device = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="For temperatures above 0.")] = 0,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Compare drafted answers with plain decoding and, when greedy, with stock `generate`.

    Exit code 0 only if all tokens are equal; in fp32 near-ties within 1e-4 are allowed, rarer than
    1 in 10,000 tokens.
    """
    from dataclasses import asdict

    from tascel.bench.prompts import requests
    from tascel.bench.verify import verify as run
    from tascel.runner import load
    from tascel.types import Sampling

    with progress() as show:
        runner = load(
            bundle, model=model, adapter=adapter, dtype=dtype, device=device,
            profile=lambda done, total: show("measuring the verify cost", done, total),
        )  # fmt: skip
        sampling = Sampling(temperature=temperature, seed=seed)
        wanted = requests(runner, prompts, split, limit, max_tokens, sampling, skip_bad=skip_bad)
        report = run(runner, wanted, lambda done, total: show("comparing", done, total))
    write_json(json, {"dtype": runner.setting.dtype, "equal": report.equal, **asdict(report)})
    out.print(
        f"{report.prompts} answers, {report.tokens:,} tokens, {report.drafted_share:.0%} drafted; "
        f"{report.rejects} steps refused a draft, {report.block_stops} answers ended inside a block"
    )
    for d in report.differences[:10]:
        out.print(f"  {d.request} leaves {d.against} at token {d.position}, gap {d.gap:.2g}")
    rate = len(report.differences) / max(1, report.tokens)
    if report.differences:
        out.print(f"{len(report.differences)} differences, {rate:.2g} a token")
    if report.offered == 0:
        out.print("nothing was drafted, so nothing is proven")
    elif report.equal:
        out.print("[bold green]equal[/]")
    else:
        hint = "" if runner.setting.dtype == "float32" else "; only fp32 can prove equality"
        out.print(f"[bold red]not equal[/]{hint}")
    raise typer.Exit(0 if report.equal and report.offered else 1)
