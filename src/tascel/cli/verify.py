"""`tascel verify`: is the output the same?"""

from __future__ import annotations

from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out, progress, tell_head, write_json


def verify(
    bundle: options.Bundle,
    prompts: options.Prompts,
    model: options.Model,
    engine: options.Engine = "hf",
    adapter: options.Adapter = None,
    limit: options.Limit = None,
    split: options.Split = "test",
    max_tokens: options.MaxTokens = 256,
    dtype: options.Dtype = "float32",
    device: options.Device = None,
    head: options.Head = "auto",
    fast: options.Fast = False,
    large: options.Large = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="For temperatures above 0.")] = 0,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Compare drafted answers with plain decoding and, when greedy, with stock `generate`, if
    transformers runs the model.

    Exit code 0 only on proof: something was drafted, and in float32 all tokens are equal but for
    near-ties within 1e-4, rarer than 1 in 10,000. Other dtypes get a rate and the gaps.
    """
    from dataclasses import asdict

    from tascel.bench.prompts import prompts as read
    from tascel.bench.prompts import requests
    from tascel.bench.verify import verify as run
    from tascel.loading import load
    from tascel.traces.read import BadLines
    from tascel.types import Sampling

    bad = BadLines()
    on_bad = bad.add if skip_bad else None
    with progress() as show:
        runner = load(
            bundle, model=model, engine=engine, adapter=adapter, dtype=dtype, device=device,
            head="fast" if fast else head, large=large,
            profile=lambda done, total: show("measuring the verify cost", done, total),
        )  # fmt: skip
        tell_head(runner)
        sampling = Sampling(temperature=temperature, seed=seed)
        traces = read(prompts, split, limit, on_bad)
        asked = requests(runner, traces, max_tokens, sampling, on_bad)
        wanted = [request for _, request in asked]
        report = run(runner, wanted, lambda done, total: show("comparing", done, total))
    if bad.count:
        err.print(str(bad), markup=False)
    write_json(
        json,
        {
            "dtype": runner.setting.dtype,
            "head": runner.head,
            "equal": report.equal,
            **asdict(report),
        },
    )
    out.print(
        f"{report.prompts} answers, {report.tokens:,} tokens, {report.drafted_share:.0%} drafted; "
        f"{report.rejects} steps refused a draft, {report.block_stops} answers ended inside a block"
    )
    for d in report.differences[:10]:
        out.print(f"  {d.request} leaves {d.against} at token {d.position}, gap {d.gap:.2g}")
    rate = len(report.differences) / max(1, report.tokens)
    if report.differences:
        out.print(f"{len(report.differences)} differences, {rate:.2g} a token")
    proof = report.offered > 0 and runner.setting.dtype == "float32"
    out.print("[bold green]equal[/]" if report.equal else "[bold red]not equal[/]")
    if report.offered == 0:
        out.print("nothing was drafted, so nothing is proven")
    elif not proof:
        out.print(f"{runner.setting.dtype} can prove nothing; float32 can")
    raise typer.Exit(0 if report.equal and proof else 1)
