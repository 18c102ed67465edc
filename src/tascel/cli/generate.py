"""`tascel generate`: answer prompts, to the terminal or to a file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tascel.cli import options
from tascel.cli.console import COLOURS, by_task, err, legend, out, progress, tell_head
from tascel.errors import TascelError

if TYPE_CHECKING:
    from tascel.answers import AnswerFile
    from tascel.runner import Runner
    from tascel.types import Completion, Grammar, Request, Sampling, Trace


def generate(
    bundle: options.Bundle,
    prompts: Annotated[
        str | None, typer.Argument(metavar="[PROMPTS]", help="File of prompts; or use --prompt.")
    ] = None,
    *,
    model: options.Model,
    engine: options.Engine = "hf",
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
    rows: Annotated[
        int, typer.Option(min=1, help="With -o: so many prompts are answered at once.")
    ] = 16,
    json_schema: Annotated[
        Path | None, typer.Option(help="Answers are JSON that follows the schema in this file.")
    ] = None,
    json_object: Annotated[
        bool, typer.Option("--json-object", help="Answers are JSON objects.")
    ] = False,
    regex: Annotated[
        str | None, typer.Option(help="Answers match this, from beginning to end.")
    ] = None,
    no_drafts: Annotated[
        bool, typer.Option("--no-drafts", help="Decode plainly; runs models that cannot roll back.")
    ] = False,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    head: options.Head = "auto",
    fast: options.Fast = False,
    large: options.Large = None,
    cache_tokens: options.CacheTokens = None,
    learn: options.Learn = False,
    learn_tokens: options.LearnTokens = None,
    learn_days: options.LearnDays = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Answer prompts. In the terminal, tokens that were drafted are coloured."""
    from tascel.bench.prompts import prompts as read
    from tascel.errors import RequestError
    from tascel.loading import load
    from tascel.traces.read import BadLines
    from tascel.types import Sampling, Trace

    if (prompts is None) == (not prompt):
        raise RequestError("prompts come from a file or from --prompt", "Give one of the two")
    sampling = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed,
        repetition_penalty=repetition_penalty, presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
    )  # fmt: skip
    learns = options.learning(learn, learn_tokens, learn_days)
    with progress() as show:
        runner = load(
            bundle, model=model, engine=engine, adapter=adapter, dtype=dtype, device=device,
            head="fast" if fast else head, large=large,
            drafts=not no_drafts, cache_tokens=cache_tokens, learn=learns,
            profile=lambda done, total: show("measuring the verify cost", done, total),
        )  # fmt: skip
    tell_head(runner)
    bad = BadLines()
    traces = (
        read(prompts, split, limit, bad.add if skip_bad else None)
        if prompts is not None
        else (Trace(({"role": "user", "content": text},)) for text in prompt or ())
    )
    form = _form(json_schema, json_object, regex)
    grammar = None if form is None else _grammar(runner, *form)
    run = Run(runner, traces, sampling, tuple(stop or ()), max_tokens, rows, form, grammar)
    with runner:  # whatever ends it, what was learned is written down
        if output is None:
            run.show()
        else:
            run.write(output)
    if bad.count:
        err.print(str(bad), markup=False)
    run.summary()
    if run.refused:
        raise typer.Exit(1)


def _form(schema: Path | None, json_object: bool, regex: str | None) -> tuple[str, str] | None:
    """What answers must look like: the kind of rule, and the rule."""
    from tascel.errors import RequestError

    if sum([schema is not None, json_object, regex is not None]) > 1:
        raise RequestError(
            "--json-schema, --json-object and --regex exclude each other", "Give one of them"
        )
    if schema is not None:
        try:
            return "json_schema", schema.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"{schema}: cannot be read ({error})", "Give a file with a JSON schema"
            ) from error
    return ("regex", regex) if regex is not None else ("json_object", "") if json_object else None


def _grammar(runner: Runner, kind: str, rule: str) -> Grammar:
    from tascel.grammar import Grammars

    grammars = Grammars(runner.codec, runner.engine.eos_ids)
    if kind == "json_schema":
        return grammars.json_schema(rule)
    return grammars.regex(rule) if kind == "regex" else grammars.json_object()


@dataclass(slots=True, eq=False)
class Run:
    """One call's prompts, settings, and what has come of them."""

    runner: Runner
    traces: Iterator[Trace]
    sampling: Sampling
    stop: tuple[str, ...]
    max_tokens: int
    rows: int
    form: tuple[str, str] | None
    grammar: Grammar | None
    finished: list[Completion] = field(default_factory=list["Completion"])
    refused: int = 0
    seconds: float = 0.0

    def show(self) -> None:
        """Stream answers to the terminal, each token in its drafter's colour; to a pipe as is."""
        if out.is_terminal:
            out.print(legend())
        for number, trace in enumerate(self.traces):
            started = perf_counter()
            try:
                completion = self._stream(self._request(trace))
            except TascelError as error:
                self._refuse(number, error)
            else:
                self.finished.append(completion)
                self.seconds += perf_counter() - started
                self._print("\n", "model")

    def write(self, path: Path) -> None:
        """Write one JSON line a prompt, in order, many at a time.

        A prompt that cannot be answered gets a line that says why, and does not stop the others. A
        run that was stopped goes on where it was if it is started again.
        """
        from tascel.answers import AnswerFile, outcome

        file = AnswerFile(path, self._settings())
        if len(file):
            err.print(f"{len(file)} answers are there already", markup=False)
        asked: dict[str, tuple[int, Trace]] = {}
        started = perf_counter()
        try:
            with progress() as show:
                for event in self.runner.run_many(self._requests(file, asked), self.rows):
                    if event.completion is None and event.error is None:
                        continue
                    number, trace = asked.pop(event.request.id)
                    if event.error is not None:
                        if not isinstance(event.error, TascelError):
                            raise event.error
                        self._refuse(number, event.error, file, trace)
                    elif event.completion is not None:
                        self.finished.append(event.completion)
                        file.add(number, trace, outcome(event.completion))
                    show("answering", len(file), None)
            self.seconds = perf_counter() - started
            file.finish()
        finally:
            file.close()
        out.print(f"{path}: {len(file) - self.refused} answers", soft_wrap=True)

    def summary(self) -> None:
        """Speed and who drafted, on standard error."""
        if not self.finished:
            return
        stats = [completion.stats for completion in self.finished]
        tokens = sum(len(completion.tokens) for completion in self.finished)
        shares = sum((Counter(s.accepted) for s in stats), Counter[str]())
        by_source = ", ".join(f"{n / tokens:.0%} {source}" for source, n in shares.most_common())
        err.print(
            f"{tokens:,} tokens in {self.seconds:.1f} s, {tokens / self.seconds:.1f}/s, "
            f"{tokens / sum(s.steps for s in stats):.2f} a step; drafted: {by_source or 'nothing'}"
        )
        if tasks := by_task(s.task for s in stats):
            err.print(tasks, markup=False)
        if self.runner.draft is not None and not any(s.offered for s in stats):
            err.print("nothing was drafted: at this machine's verify cost no draft would have paid")

    def _request(self, trace: Trace) -> Request:
        return self.runner.request(
            trace.messages,
            tools=trace.tools,
            sampling=self.sampling,
            stop=self.stop,
            max_tokens=self.max_tokens,
            grammar=self.grammar,
        )

    def _requests(self, file: AnswerFile, asked: dict[str, tuple[int, Trace]]) -> Iterator[Request]:
        """A request for each prompt that has no answer yet, noted in `asked`."""
        for number, trace in enumerate(self.traces):
            if file.has(number, trace):
                continue
            try:
                request = self._request(trace)
            except TascelError as error:
                self._refuse(number, error, file, trace)
            else:
                asked[request.id] = (number, trace)
                yield request

    def _settings(self) -> dict[str, Any]:
        """What an answer depends on; a run is only continued with the same."""
        return {
            "weights": self.runner.setting.weights,
            "dtype": self.runner.setting.dtype,
            "sampling": asdict(self.sampling),
            "stop": list(self.stop),
            "max_tokens": self.max_tokens,
            "form": self.form,
            **({"head": "fast"} if self.runner.head == "fast" else {}),
        }

    def _refuse(
        self,
        number: int,
        error: TascelError,
        file: AnswerFile | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.refused += 1
        err.print(f"prompt {number + 1}: {error}", markup=False)
        if file is not None and trace is not None:
            file.add(number, trace, {"error": str(error)})

    def _stream(self, request: Request) -> Completion:
        chunks = self.runner.run(request)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                return end.value
            self._print(chunk.text, chunk.source)

    def _print(self, text: str, source: str) -> None:
        if out.is_terminal:
            out.print(Text(text, COLOURS[source]), end="", soft_wrap=True)
        else:  # rich would expand tabs and shorten line ends
            sys.stdout.write(text)
            sys.stdout.flush()
