"""`tascel demo`: the whole main job on a real model and a real task, registry packages only."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tascel.cli import options
from tascel.cli.console import COLOURS, err, legend, out, progress, rows_table, write_json

if TYPE_CHECKING:
    from tascel.bench.compare import Round
    from tascel.bundle import Bundle
    from tascel.runner import Runner
    from tascel.types import Chunk, Trace

SHOWN = 4  # answers printed at the end


def demo(
    limit: Annotated[int, typer.Option(min=1, help="Held-out commands to answer.")] = 16,
    json: options.Json = None,
) -> None:
    """Learn Home Assistant voice commands, then answer held-out ones with and without drafts."""
    from tascel.demo.run import Demo, compare

    with progress() as report:
        parts = Demo(report, lambda line: err.print(line, markup=False))
        parts.prepare()
        bundle = parts.learn()
        runner = parts.start()
    traces = parts.held_out(limit)
    _learned(bundle)
    started = perf_counter()
    view = View(traces)
    with Live(view, console=out, refresh_per_second=12, transient=True) as live:
        view.redraw = live.refresh
        outcome = compare(runner, traces, view.watch, view.next)
    content = outcome.content
    write_json(json, content)
    _answers(runner, traces, outcome.rounds)
    out.print(rows_table(content["rows"], f"{len(traces)} held-out commands, bfloat16, batch 1"))
    fresh = content["unseen"]
    if fresh["examples"]:
        title = f"the {fresh['examples']} whose answer the bundle has never seen"
        out.print(rows_table(fresh["rows"], title))
    _verdict(content, perf_counter() - started)


class View:
    """The live picture: the same answer twice, plain and drafted, with the seconds each took.

    Tokens arrive outside the timed part, so drawing costs the comparison nothing.
    """

    def __init__(self, traces: Sequence[Trace]) -> None:
        self._traces = traces
        self._done = 0
        self._seconds = {"none": 0.0, "tascel": 0.0}
        self._tokens = {"none": 0, "tascel": 0}
        self._text = {"none": Text(), "tascel": Text()}
        self._step = {"none": inf, "tascel": inf}

    def redraw(self) -> None:
        """Replaced by the live display's own."""

    def watch(self, name: str, chunk: Chunk) -> None:
        """One token of one of the two."""
        if chunk.step < self._step[name]:  # a new answer
            self._text[name] = Text()
        self._step[name] = chunk.step
        self._text[name].append(chunk.text, COLOURS[chunk.source])

    def next(self, done: int, round_: Round) -> None:
        """A prompt has been answered by everyone."""
        self._done = done
        for name in self._seconds:
            answer = round_[name]
            self._seconds[name] += answer.prefill_seconds + answer.decode_seconds
            self._tokens[name] += len(answer.tokens)
        self._step = dict.fromkeys(self._step, inf)
        self.redraw()

    def __rich__(self) -> Group:
        here = min(self._done, len(self._traces) - 1)
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        panels = [
            Panel(self._text[name], title=title, subtitle=self._rate(name), height=6)
            for name, title in (("none", "plain decoding"), ("tascel", "tascel"))
        ]
        table.add_row(*panels)
        counter = f"{self._done} of {len(self._traces)} commands answered by all five contenders"
        return Group(
            Text(f"“{self._traces[here].prompt_text}”", "bold"), table, legend(), Text(counter)
        )

    def _rate(self, name: str) -> str:
        seconds = self._seconds[name]
        return f"{self._tokens[name] / seconds:.0f} tokens/s" if seconds else ""


def _learned(bundle: Bundle) -> None:
    counts = bundle.manifest.counts
    out.print(
        f"learned from {counts['traces']:,} past commands: {counts['tokens']:,} tokens of answers, "
        f"{counts['distinct_outputs']:,} distinct; in {bundle.path}",
        soft_wrap=True,
    )


def _answers(runner: Runner, traces: Sequence[Trace], rounds: Sequence[Round]) -> None:
    """A few answers with drafted tokens coloured."""
    out.print(legend())
    for trace, round_ in list(zip(traces, rounds, strict=True))[:SHOWN]:
        answer = round_["tascel"]
        pieces = Text()
        detokenizer = runner.codec.stream()
        for token, source in zip(answer.tokens, answer.sources, strict=True):
            pieces.append(detokenizer.push(token), COLOURS[source])
        out.print(Text(f"“{trace.prompt_text}”", "bold"))
        out.print(pieces, soft_wrap=True)
        seconds = [round_[n].prefill_seconds + round_[n].decode_seconds for n in ("none", "tascel")]
        out.print(
            f"  {len(answer.tokens)} tokens in {answer.steps} passes, "
            f"{seconds[1]:.2f} s instead of {seconds[0]:.2f} s",
            style="dim",
        )
    out.print()


def _verdict(content: dict[str, Any], seconds: float) -> None:
    row = next(r for r in content["rows"] if r["name"] == "tascel")
    accuracy = content["accuracy"]
    shares = ", ".join(f"{share:.0%} by the {name}" for name, share in row["by_source"].items())
    differ = row["mismatches"]
    same = "the same answers" if row["identical"] else f"{differ} answers differ"
    out.print(
        f"[bold]{row['speedup_total']:.1f}× faster[/] in all, {row['speedup']:.1f}× after the "
        f"first token; {row['tokens_per_step']:.1f} tokens a pass; drafted: {shares}; {same}; "
        f"intent and slots right in {accuracy['exact']} of {accuracy['of']}"
    )
    if not row["identical"]:
        err.print(
            "bfloat16 rounds differently at other widths, so near-ties can flip; "
            "`tascel verify` proves equality in float32"
        )
    out.print(f"compared in {seconds:.0f} s", style="dim")
