"""`tascel bench`: side by side with no drafts and with the peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
            "transformers as the engine its generate and, one prompt at a time, its prompt-lookup."
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
    html: options.Html = None,
    plots: options.Plots = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Answer PROMPTS with our draft, plainly and with the peers, interleaved, and compare."""
    from tascel.bench import batches
    from tascel.bench.compare import interleave, report
    from tascel.bench.contenders import contenders
    from tascel.bench.prompts import prompts as read
    from tascel.bench.prompts import requests
    from tascel.bench.shown import shown
    from tascel.bench.steps import Recorder
    from tascel.loading import load
    from tascel.report import page, verbs
    from tascel.traces.read import BadLines

    page.ready(html, plots)
    bad, steps = BadLines(), Recorder()
    on_bad = bad.add if skip_bad else None
    with progress() as show:
        runner = load(
            bundle, model=model, engine=engine, adapter=adapter, dtype=dtype, device=device,
            head="fast" if fast else head, large=large,
            profile=lambda done, total: show("measuring the verify cost", done, total),
        )  # fmt: skip
        usual = ["none"]
        if engine == "hf":
            usual += ["transformers"] if rows > 1 else ["transformers", "prompt-lookup"]
        others = [name.strip() for name in against.split(",")] if against else usual
        names = ["none", *(n for n in others if n not in ("none", "tascel")), "tascel"]
        asked = requests(runner, read(prompts, split, limit, on_bad), max_tokens, on_bad=on_bad)
        tell_head(runner)
        todo = [request for _, request in asked]
        if rows > 1:
            runs = batches.race(
                runner, todo, rows, names, repeats,
                lambda done, total: show(f"runs of {len(asked)} prompts", done, total), steps,
            )  # fmt: skip
            content = batches.report(runner, runs, rows, steps)
        else:
            rounds = interleave(
                runner, contenders(runner, names, steps=steps), todo,
                lambda done, _: show("answering side by side", done, len(asked)),
            )  # fmt: skip
            content = report(runner, rounds, recorder=steps)
            if answers is not None:
                ours = [round_["tascel"] for round_ in rounds]
                _write(answers, runner, [*zip((t for t, _ in asked), ours, strict=True)])
    if bad.count:
        err.print(str(bad), markup=False)
    write_json(json, content)
    _tell(content, rows)
    if html or plots:
        texts = {request.id: trace.prompt_text for trace, request in asked}
        made = verbs.batches if rows > 1 else verbs.bench
        told = shown(runner.codec, texts, steps.answers, options.SHOWN)
        page.write(made(content, told), html, plots)


def _tell(content: Mapping[str, Any], rows: int) -> None:
    """The numbers as tables."""
    if rows > 1:
        title = f"{content['examples']} prompts, {rows} at a time, {content['dtype']}"
        out.print(batches_table(content["rows"], title))
    else:
        title = f"{content['examples']} prompts, {content['dtype']}"
        out.print(rows_table(content["rows"], title))
    prompts: Mapping[str, int] = content["prompts_by_task"]
    if tasks := by_task(Counter(prompts).elements()):
        out.print(tasks, markup=False)
    unseen = content.get("unseen", {"examples": 0})
    if 0 < unseen["examples"] < content["examples"]:
        title = f"the {unseen['examples']} of them whose answer does not stand in the bundle"
        out.print(rows_table(unseen["rows"], title))


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
