"""What `tascel advise` shows: what the traces are like in tables, then what to do.

Names of tasks and of models are no markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from tascel.advise.recommend import title
from tascel.cli.console import out, plain_table

if TYPE_CHECKING:
    from rich.table import Table

#: Points of the curve and tasks that are shown; --json has all.
_POINTS, _TASKS = 6, 10


def show(content: dict[str, Any]) -> None:
    """Everything, the recommendation last."""
    _say(
        f"{content['read']:,} traces, {content['answered']:,} of them answered; "
        f"{content['learned']:,} learned from, {content['replayed']:,} replayed"
    )
    out.print(_facts(content))
    out.print(_entropy(content["entropy"]))
    if content["tokens"]["curve"]:
        out.print(_tokens(content["tokens"]))
    if content["tasks"]:
        out.print(_tasks(content["tasks"]))
    if content["engines"]:
        out.print(_engines(content))
    _say("")
    for entry in content["to_measure"]:
        _say(f"not measured: {entry['engine']} with {entry['model']}: {entry['do']}")
    for entry in content["absent"]:
        _say(f"without {entry['engine']}: {entry['do']}")
    said = content["recommendation"]
    for at, step in enumerate(said["steps"], 1):
        _say(f"\n{at}. {step['words']}" if len(said["steps"]) > 1 else f"\n{step['words']}")
        for command in step["commands"]:
            _say(f"   {command}")
    for caution in said["cautions"]:
        _say(f"\nNote: {caution}")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def _facts(content: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_row("answers", _lengths(content["lengths"]))
    table.add_row("said before", _repeated(content["repeated"]))
    table.add_row("in the prompt", _copied(content["copied"]))
    table.add_row("vocabulary", _vocabulary(content["vocabulary"]))
    if content["tokens"]["note"]:
        table.add_row("new tokens", content["tokens"]["note"])
    return table


def _lengths(found: dict[str, Any]) -> str:
    quantiles = ", ".join(f"{q:.0%} ≤ {found['quantiles'][str(q)]:.0f}" for q in (0.1, 0.5, 0.9))
    return f"{found['mean']:.1f} tokens on average; {quantiles}, all ≤ {found['longest']:,}"


def _repeated(found: dict[str, Any]) -> str:
    runs = ", ".join(f"{n}: {share:.0%}" for n, share in found["runs"].items() if share is not None)
    return (
        f"{found['verbatim']:.0%} of the answers word for word, {found['known']:.0%} of held-out "
        f"ones; runs of so many tokens, {runs or 'none'}"
    )


def _copied(found: dict[str, Any]) -> str:
    words, tokens = found["words"], found["tokens"]
    return (
        f"{words['1']:.0%} of the words, {words['2']:.0%} in runs of two and more; of the tokens "
        f"{tokens['2']:.0%} in runs of two, {tokens['4']:.0%} of four"
    )


def _vocabulary(found: dict[str, Any]) -> str:
    head = found["head"]
    said = (
        f"{found['written']:,} of {found['size']:,} ids, {found['covered']:.1%} of held-out "
        f"answers; a tailored head has {found['rows']:,} rows and {found['prompt_rows']:.0f} of a "
        "prompt"
    )
    if head is None:
        return said
    return f"{said}, {head['then_bytes'] / 1e6:,.1f} MB instead of {head['now_bytes'] / 1e6:,.1f}"


def _entropy(found: dict[str, Any]) -> Table:
    heads = ("bits in", "out", "change", "80 % in", "out", "ratio")
    table = plain_table("Pairs of words, among the tasks of TASC's Table 1", heads)
    for row in sorted([found, *found["paper"]], key=lambda row: row["bits_out"]):
        table.add_row(
            row["task"],
            f"{row['bits_in']:.1f}",
            f"{row['bits_out']:.1f}",
            "" if row["change"] is None else f"{row['change']:+.0%}",
            f"{row['most_in']:,}",
            f"{row['most_out']:,}",
            f"{row['ratio']:,.1f}",
            style="bold" if row is found else None,
        )
    return table


def _tokens(found: dict[str, Any]) -> Table:
    table = plain_table("New tokens", ("held-out tokens", "fewer", "time"))
    for point in _some(found["curve"], found["best"]["rows"]):
        fewer = found["curve"][0]["tokens"] / point["tokens"]
        table.add_row(
            f"{point['rows']:,}", f"{point['tokens']:,}", f"{fewer:.2f}×", f"{point['time']:.3f}"
        )
    return table


def _some(curve: Sequence[dict[str, Any]], best: int) -> Iterator[dict[str, Any]]:
    """The ends of a curve, its best point, and points spread between."""
    step = -(-len(curve) // _POINTS)
    for at, point in enumerate(curve):
        if at % step == 0 or at == len(curve) - 1 or point["rows"] == best:
            yield point


def _tasks(found: Sequence[dict[str, Any]]) -> Table:
    heads = ("traces", "share", "tokens", "own draft", "one for all")
    table = plain_table(f"{len(found)} tasks; tokens a pass", heads)
    for task in found[:_TASKS]:
        table.add_row(
            Text(task["name"]), f"{task['traces']:,}", f"{task['share']:.0%}",
            f"{task['answer_tokens']:.0f}", f"{task['own']:.1f}", f"{task['pooled']:.1f}",
        )  # fmt: skip
    return table


def _engines(content: dict[str, Any]) -> Table:
    table = plain_table(
        f"{content['replayed']} held-out answers of {content['answer_tokens']:.0f} tokens, prompts "
        f"of {content['prompt_tokens']}; estimated from measured passes",
        ("ms an answer", "without drafts", "reading", "a token", "per pass"),
    )
    for line in content["engines"]:
        table.add_row(
            Text(title(line)),
            f"{line['drafted_ms']:,.0f}",
            f"{line['plain_ms']:,.0f}",
            f"{line['reading_ms']:,.0f}",
            f"{line['step_ms']:.1f}",
            f"{line['tokens_per_pass']:.2f}",
        )
    return table
