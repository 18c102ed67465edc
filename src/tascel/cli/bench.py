"""`tascel bench`: side by side with no drafts and with the peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tascel.cli import options
from tascel.cli.console import (
    batches_table,
    by_task,
    err,
    out,
    progress,
    rows_table,
    tell_head,
    write_json,
)
from tascel.store.file import whole_file

if TYPE_CHECKING:
    from tascel.bench.batches import Run
    from tascel.bench.contenders import Answer
    from tascel.runner import Runner
    from tascel.types import Trace


def bench(
    bundle: options.Bundle,
    prompts: options.Prompts,
    model: options.Model,
    engine: options.Engine = "hf",
    adapter: options.Adapter = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Of none, transformers, prompt-lookup, tasc-paper, and variants of our own: "
            "no-neighbours, no-slots, corpus-context, pooled, and those of `tascel replay`; with "
            "commas between. With --rows above 1 of none and transformers. Default: none, and with "
            "transformers as the engine its generate and its prompt-lookup."
        ),
    ] = None,
    limit: options.Limit = None,
    split: options.Split = "test",
    max_tokens: options.MaxTokens = 256,
    rows: Annotated[
        int, typer.Option(min=1, help="Answer so many prompts at a time; whole runs are compared.")
    ] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="With --rows: runs of each.")] = 5,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    head: options.Head = "auto",
    fast: options.Fast = False,
    large: options.Large = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="JSONL file to write our answers to, as `tascel generate -o` does."),
    ] = None,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Answer PROMPTS with our draft, plainly and with the peers, interleaved, and compare."""
    from tascel.bench.batches import race
    from tascel.bench.compare import interleave, report
    from tascel.bench.contenders import contenders
    from tascel.bench.prompts import prompts as read
    from tascel.bench.prompts import requests
    from tascel.loading import load
    from tascel.traces.read import BadLines

    bad = BadLines()
    on_bad = bad.add if skip_bad else None
    with progress() as show:
        runner = load(
            bundle, model=model, engine=engine, adapter=adapter, dtype=dtype, device=device,
            head="fast" if fast else head, large=large,
            profile=lambda done, total: show("measuring the verify cost", done, total),
        )  # fmt: skip
        against = against or ("none,transformers,prompt-lookup" if engine == "hf" else "none")
        others = [name.strip() for name in against.split(",")]
        names = ["none", *(n for n in others if n not in ("none", "tascel")), "tascel"]
        asked = requests(runner, read(prompts, split, limit, on_bad), max_tokens, on_bad=on_bad)
        tell_head(runner)
        if rows > 1:
            runs = race(
                runner, [request for _, request in asked], rows, names, repeats,
                lambda done, total: show(f"runs of {len(asked)} prompts", done, total),
            )  # fmt: skip
            _show_batches(json, runner, runs, rows, len(asked))
            return
        rounds = interleave(
            runner,
            contenders(runner, names),
            [request for _, request in asked],
            lambda done, _: show("answering side by side", done, len(asked)),
        )
    if bad.count:
        err.print(str(bad), markup=False)
    content = report(runner, rounds)
    write_json(json, content)
    if answers is not None:
        _write(answers, runner, [(t, r["tascel"]) for (t, _), r in zip(asked, rounds, strict=True)])
    out.print(rows_table(content["rows"], f"{content['examples']} prompts, {content['dtype']}"))
    if tasks := by_task(answers_of["tascel"].task for answers_of in rounds):
        out.print(tasks, markup=False)
    unseen = content["unseen"]
    if 0 < unseen["examples"] < content["examples"]:
        title = f"the {unseen['examples']} of them whose answer does not stand in the bundle"
        out.print(rows_table(unseen["rows"], title))


def _show_batches(
    json: Path | None, runner: Runner, runs: Mapping[str, Sequence[Run]], rows: int, prompts: int
) -> None:
    from tascel.bench.batches import table
    from tascel.bench.compare import setting

    lines = table(runs)
    write_json(json, {**setting(runner), "examples": prompts, "rows_at_once": rows, "rows": lines})
    title = f"{prompts} prompts, {rows} at a time, {runner.setting.dtype}"
    out.print(batches_table(lines, title))
    if tasks := by_task(Counter(runs["tascel"][0].tasks).elements()):
        out.print(tasks, markup=False)


def _write(path: Path, runner: Runner, answers: Sequence[tuple[Trace, Answer]]) -> None:
    from tascel.answers import line, written
    from tascel.bench.answers import spelled

    with whole_file(path) as file:
        for trace, answer in answers:
            ended = answer.tokens[-1] in runner.engine.eos_ids
            outcome = written(
                spelled(runner.codec, answer.tokens[:-1] if ended else answer.tokens),
                answer.tokens,
                "stop" if ended else "length",
                answer.steps,
                answer.drafted,
                answer.prefill_seconds + answer.decode_seconds,
            )
            file.write(line(trace, outcome))
