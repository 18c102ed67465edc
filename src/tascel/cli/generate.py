"""`tascel generate`: answer prompts, to the terminal or to a file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tascel.cli import options
from tascel.cli.console import COLOURS, err, legend, out, progress

if TYPE_CHECKING:
    from tascel.runner import Runner
    from tascel.types import Completion, Sampling, Trace


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
    from tascel.bench.prompts import prompts as read
    from tascel.errors import RequestError
    from tascel.runner import load
    from tascel.traces.read import BadLines
    from tascel.types import Sampling, Trace

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
    bad = BadLines()
    traces = (
        read(prompts, split, limit, bad.add if skip_bad else None)
        if prompts is not None
        else (Trace(({"role": "user", "content": text},)) for text in prompt or ())
    )
    run = Run(runner, traces, sampling, tuple(stop or ()), max_tokens)
    if output is None:
        run.show()
    else:
        run.write(output)
    if bad.count:
        err.print(str(bad), markup=False)
    run.summary()
    if run.refused:
        raise typer.Exit(1)


@dataclass(slots=True, eq=False)
class Run:
    """One call's prompts, settings, and what has come of them."""

    runner: Runner
    traces: Iterator[Trace]
    sampling: Sampling
    stop: tuple[str, ...]
    max_tokens: int
    finished: list[Completion] = field(default_factory=list["Completion"])
    refused: int = 0
    _why: str = ""

    def show(self) -> None:
        """Stream answers to the terminal, each token in its drafter's colour; to a pipe as is."""
        if out.is_terminal:
            out.print(legend())
        for trace in self.traces:
            completion = self._answer(trace, self._print)
            if completion is not None:
                self._print("\n", "model")

    def write(self, path: Path) -> None:
        """Write one JSON line a prompt, in order.

        A prompt that cannot be answered gets a line that says why, and does not stop the others.
        Lines go to `PATH.partial`, which becomes `path` at the end and stays if the run is stopped.
        """
        from tascel.bench.answers import line

        partial = path.with_name(f"{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        with progress() as show, partial.open("w", encoding="utf-8") as file:
            for done, trace in enumerate(self.traces, start=1):
                completion = self._answer(trace, lambda text, source: None)
                outcome = {"error": self._why} if completion is None else _outcome(completion)
                file.write(line(trace, outcome))
                file.flush()
                show("answering", done, None)
        partial.replace(path)
        out.print(f"{path}: {len(self.finished)} answers", soft_wrap=True)

    def summary(self) -> None:
        """Speed and who drafted, on standard error."""
        if not self.finished:
            return
        stats = [completion.stats for completion in self.finished]
        tokens = sum(len(completion.tokens) for completion in self.finished)
        seconds = sum(s.prefill_seconds + s.decode_seconds for s in stats)
        shares = sum((Counter(s.accepted) for s in stats), Counter[str]())
        by_source = ", ".join(f"{n / tokens:.0%} {source}" for source, n in shares.most_common())
        err.print(
            f"{tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:.1f}/s, "
            f"{tokens / sum(s.steps for s in stats):.2f} a step; drafted: {by_source or 'nothing'}"
        )
        if self.runner.draft is not None and not any(s.offered for s in stats):
            err.print("nothing was drafted: at this machine's verify cost no draft would have paid")

    def _answer(self, trace: Trace, say: Callable[[str, str], None]) -> Completion | None:
        """Answer one prompt, or None if it cannot be: `_why` then says so."""
        from tascel.errors import RequestError

        try:
            request = self.runner.request(
                trace.messages, trace.tools, self.sampling, self.stop, self.max_tokens
            )
            chunks = self.runner.run(request)
        except RequestError as error:
            self.refused += 1
            self._why = str(error)
            place = len(self.finished) + self.refused
            err.print(f"prompt {place}: {error}", markup=False)
            return None
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                self.finished.append(end.value)
                return end.value
            say(chunk.text, chunk.source)

    def _print(self, text: str, source: str) -> None:
        if out.is_terminal:
            out.print(Text(text, COLOURS[source]), end="", soft_wrap=True)
        else:  # rich would expand tabs and shorten line ends
            sys.stdout.write(text)
            sys.stdout.flush()


def _outcome(completion: Completion) -> dict[str, Any]:
    from tascel.bench.answers import written

    stats = completion.stats
    return written(
        completion.text,
        completion.tokens,
        completion.finish_reason,
        stats.steps,
        stats.accepted,
        stats.prefill_seconds + stats.decode_seconds,
    )
