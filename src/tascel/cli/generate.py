"""`tascel generate`: answer prompts, to the terminal or to a file."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tascel.cli import options
from tascel.cli.console import COLOURS, err, legend, out, progress

if TYPE_CHECKING:
    from tascel.runner import Runner
    from tascel.types import Completion, Request


def generate(
    bundle: options.Bundle,
    prompts: Annotated[
        str | None, typer.Argument(metavar="[PROMPTS]", help="File of prompts; or use --prompt.")
    ] = None,
    *,
    model: options.Model,
    adapter: options.Adapter = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="One prompt.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSONL file to write; else the terminal.")
    ] = None,
    limit: options.Limit = None,
    split: options.Split = "test",
    max_tokens: options.MaxTokens = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_k: Annotated[int, typer.Option(min=0)] = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes sampling repeatable.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text.")] = None,
    no_drafts: Annotated[
        bool, typer.Option("--no-drafts", help="Decode plainly; runs models that cannot roll back.")
    ] = False,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Answer prompts. In the terminal, tokens that were drafted are coloured."""
    from tascel.bench.prompts import requests
    from tascel.errors import RequestError
    from tascel.runner import load
    from tascel.types import Sampling

    if (prompts is None) == (not prompt):
        raise RequestError("prompts come from a file or from --prompt", "Give one of the two")
    sampling = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed,
        repetition_penalty=repetition_penalty, presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
    )  # fmt: skip
    with progress() as show:
        runner = load(
            bundle, model=model, adapter=adapter, dtype=dtype, device=device,
            drafts=not no_drafts,
            profile=lambda done, total: show("measuring the verify cost", done, total),
        )  # fmt: skip
    if prompts is None:
        wanted = [
            runner.request(text, None, sampling, stop or (), max_tokens) for text in prompt or ()
        ]
    else:
        wanted = requests(
            runner, prompts, split, limit, max_tokens, sampling, stop or (), skip_bad=skip_bad
        )
    finished = _write(runner, wanted, output) if output else _show(runner, wanted)
    _summary(finished)
    if runner.draft is not None and not any(c.stats.offered for c in finished):
        err.print("nothing was drafted: at this machine's verify cost no draft would have paid")
    if len(finished) < len(wanted):
        raise typer.Exit(1)


def _show(runner: Runner, requests: Sequence[Request]) -> list[Completion]:
    """Stream answers to the terminal, each token in its drafter's colour."""
    finished: list[Completion] = []
    if out.is_terminal:
        out.print(legend())
    for request in requests:
        chunks = runner.run(request)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                finished.append(end.value)
                break
            out.print(chunk.text, style=COLOURS[chunk.source], end="", markup=False, soft_wrap=True)
        out.print()
    return finished


def _write(runner: Runner, requests: Sequence[Request], path: Path) -> list[Completion]:
    """Write one JSON line a prompt; the file appears when all are done.

    A prompt that cannot be answered gets a line that says why, and does not stop the others.
    """
    from tascel.decode.loop import complete
    from tascel.errors import RequestError
    from tascel.store.file import whole_file

    finished: list[Completion] = []
    with progress() as show, whole_file(path) as file:
        for done, request in enumerate(requests, start=1):
            record: dict[str, Any] = {"prompt": runner.codec.decode(request.prompt.tolist())}
            try:
                completion = complete(runner.run(request))
            except RequestError as error:
                record["error"] = str(error)
                err.print(f"line {done}: {error}", markup=False)
            else:
                finished.append(completion)
                record |= _answer(request, completion)
            file.write(jsonlib.dumps(record, ensure_ascii=False) + "\n")
            show("answering", done, len(requests))
    out.print(f"{path}: {len(finished)} answers to {len(requests)} prompts")
    return finished


def _answer(request: Request, completion: Completion) -> dict[str, Any]:
    stats = completion.stats
    return {
        "output": completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": len(request.prompt),
        "tokens": len(completion.tokens),
        "steps": stats.steps,
        "drafted": dict(stats.accepted),
        "seconds": round(stats.prefill_seconds + stats.decode_seconds, 4),
    }


def _summary(finished: Sequence[Completion]) -> None:
    if not finished:
        return
    tokens = sum(len(c.tokens) for c in finished)
    steps = sum(c.stats.steps for c in finished)
    seconds = sum(c.stats.prefill_seconds + c.stats.decode_seconds for c in finished)
    shares = sum((Counter(c.stats.accepted) for c in finished), Counter[str]())
    by_source = ", ".join(f"{n / tokens:.0%} {source}" for source, n in shares.most_common())
    err.print(
        f"{tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:.1f}/s, "
        f"{tokens / steps:.2f} a step; drafted: {by_source or 'nothing'}"
    )
