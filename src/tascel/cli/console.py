"""What every verb shows: progress with rates, coloured answers, tables, errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from tascel.store.file import whole_file

if TYPE_CHECKING:
    from tascel.runner import Runner

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

#: The colour of a token by who drafted it, as near to a report's as terminals have them; the
#: model's own are plain.
COLOURS: Mapping[str, str] = {
    "model": "", "corpus": "green", "context": "magenta", "draft": "bright_magenta",
    "prediction": "bright_yellow", "grammar": "red", "neighbours": "cyan", "slots": "yellow",
    "head": "", "neural": "blue",
}  # fmt: skip


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed and speed >= 10 else f"{speed or 0:.1f}/s")


@contextmanager
def progress() -> Generator[Callable[[str, int, int | None], None]]:
    """A bar a stage, with rates, on standard error; yields `report(stage, done, total)`. A log
    shows no bar before all is done: it gets a line when a stage begins."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=False) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                if not err.is_terminal:
                    err.print(f"{stage} …", markup=False)
                for task in tasks.values():
                    if bars.tasks[task].total is None:
                        bars.update(task, total=bars.tasks[task].completed)
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
        for task in bars.tasks:
            if task.total is None:
                bars.update(task.id, total=task.completed)


def legend() -> Text:
    """What the colours mean."""
    named = {
        "model": "model's own", "corpus": "from the task", "neighbours": "from similar prompts",
        "slots": "copied from the prompt", "context": "said before",
    }  # fmt: skip
    return Text("  ").join(Text(text, COLOURS[source]) for source, text in named.items())


def by_task(tasks: Iterable[str | None]) -> str | None:
    """How many prompts went to each task, for reading; None where a bundle has but one."""
    counts = Counter(task for task in tasks if task is not None)
    listed = "; ".join(f"{n:,} {task}" for task, n in counts.most_common())
    return f"by task: {listed}" if listed else None


def tell_head(runner: Runner) -> None:
    """How rarely the held-out answers needed what a fast head cannot write, on standard error."""
    selection = runner.bundle.selection if runner.bundle is not None else None
    if runner.head == "fast" and selection is not None:
        err.print(
            f"fast: a head of {len(selection.ids):,} rows and the prompt's; of held-out answers "
            f"{selection.misses:.2%} of the tokens had none, and {1 - selection.covered:.1%} of "
            "the answers held such a token",
            soft_wrap=True,
        )


def plain_table(title: str, heads: Sequence[str]) -> Table:
    """An empty table: a column of names, then one of numbers for each of `heads`."""
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("")
    for head in heads:
        table.add_column(head, justify="right")
    return table


def rows_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """A benchmark's rows for reading, 80 columns wide at most."""
    heads = ("tok/s", "speed-up", "total", "95 %", "per pass", "drafted", "same")
    return _compared(rows, title, heads)


def batches_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Whole runs over batches for reading."""
    heads = ("tok/s", "speed-up", "least–most", "passes", "drafted", "same")
    return _compared(rows, title, heads)


_CELLS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "tok/s": lambda row: f"{row['tokens_per_second']:.1f}",
    "speed-up": lambda row: f"{row['speedup']:.2f}×",
    "total": lambda row: f"{row['speedup_total']:.2f}×",
    "95 %": lambda row: "{:.2f}–{:.2f}".format(*row["interval"]),
    "least–most": lambda row: "{:.2f}–{:.2f}".format(*row["interval"]),
    "per pass": lambda row: f"{row['tokens_per_step']:.2f}",
    "passes": lambda row: str(row["passes"] or ""),
    "drafted": lambda row: f"{row['drafted_share']:.0%}",
    "same": lambda row: "yes" if row["identical"] else f"no ({row['mismatches']})",
}


def _compared(rows: Sequence[Mapping[str, Any]], title: str, heads: Sequence[str]) -> Table:
    table = plain_table(title, heads)
    for row in rows:
        table.add_row(row["name"], *(_CELLS[head](row) for head in heads))
    return table


def write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write a verb's numbers whole or not at all."""
    if path is not None:
        with whole_file(path) as file:
            file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
