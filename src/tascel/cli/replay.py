"""`tascel replay`: what would the drafts have saved? Needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tascel.cli import options
from tascel.cli.console import err, out, plain_table, progress, write_json

if TYPE_CHECKING:
    from rich.table import Table


def replay(
    bundle: options.Bundle,
    traces: options.Traces,
    against: Annotated[
        str,
        typer.Option(
            help="Of prompt-lookup, suffix-cold, suffix-warm, tasc-paper, tasc-tuned, and variants "
            "of our own: no-neighbours, no-slots, corpus-context, pooled, chain, rule:interpolate, "
            "rule:interpolate-24, rule:backoff, rule:best, rule:longest; with commas between. The "
            "two suffix trees need arctic-inference, which is not installed with tascel; the "
            "default needs nothing more."
        ),
    ] = "prompt-lookup,tasc-paper,tasc-tuned",
    limit: options.Limit = None,
    split: options.Split = "test",
    max_tokens: options.MaxTokens = 512,
    price: Annotated[
        Path | None,
        typer.Option(
            help="What a pass costs by width: a file of `tascel profile`, or the name of one it "
            "keeps. Default: SmolLM2-135M in bfloat16 on 2 CPU cores, 40 ms a token."
        ),
    ] = None,
    completions: Annotated[
        Path | None,
        typer.Option(
            help="Replay a model's answers to the same prompts: a file of `tascel generate -o` or "
            "`tascel bench --answers`."
        ),
    ] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="Chains only, for engines that check no trees.")
    ] = False,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Choose each peer's settings on a held-out tenth of the train split."
        ),
    ] = False,
    json: options.Json = None,
    html: options.Html = None,
    plots: options.Plots = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Walk drafts along the known answers of TRACES and estimate what they save."""
    from tascel.bench.replay import replay as run
    from tascel.report import page, verbs
    from tascel.traces.read import BadLines

    page.ready(html, plots)
    bad = BadLines()
    with progress() as show:
        content = run(
            bundle, traces, [name.strip() for name in against.split(",")],
            split=split, limit=limit, max_tokens=max_tokens, price=price, completions=completions,
            chain=chain, tune=tune, show=options.SHOWN if html else 0,
            on_bad=bad.add if skip_bad else None, progress=show,
        )  # fmt: skip
    if bad.count:
        err.print(str(bad), markup=False)
    answers = content.pop("answers", ())
    write_json(json, content)
    out.print(_table(content))
    if html or plots:
        page.write(verbs.replay(content, answers), html, plots)


def _table(content: dict[str, Any]) -> Table:
    table = plain_table(
        f"{content['examples']} answers, {content['tokens']:,} tokens, "
        f"{content['step_ms']:.4g} ms a pass",
        ("speed-up", "per pass", "drafted", "µs a pass", "tascel is", "95 %"),
    )
    for row in content["drafts"]:
        low, high = row["interval_against_tascel"]
        ours = row["name"] == "tascel"
        table.add_row(
            row["name"],
            f"{row['speedup_estimate']:.2f}×",
            f"{row['tokens_per_step']:.2f}",
            f"{row['drafted_per_step']:.1f}",
            f"{row['microseconds_per_step']:.0f}",
            "" if ours else f"{row['tascel_over_this']:.2f}×",
            "" if ours else f"{low:.2f}–{high:.2f}",
        )
    return table
