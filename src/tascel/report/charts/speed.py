"""How much sooner: contenders side by side, over all answers and task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tascel.report.drawing import Chart, Colours

OURS = "tascel"
#: Tasks drawn; more would not be read.
TASKS = 8
#: Marks of contenders, so that they differ without colours.
_MARKS = "osD^vPX*"


@dataclass(frozen=True, slots=True)
class Speed:
    """One contender's speed-up, and between what it lies."""

    name: str
    times: float
    low: float
    high: float


def speedups(speeds: Sequence[Speed], note: str) -> Chart:
    """A bar for each contender, with its interval."""

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        for at, speed in enumerate(reversed(speeds)):
            colour = colours["accent" if speed.name == OURS else "other"]
            axes.barh(at, speed.times, color=colour, height=0.62)
            axes.hlines(at, speed.low, speed.high, color=colours["ink"], linewidth=1.2)
            end = max(speed.times, speed.high)
            axes.annotate(
                f"{speed.times:.2f}×", (end, at), (4, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(speeds)), [short(speed.name) for speed in reversed(speeds)])
        axes.set_xlim(0, 1.18 * max(max(speed.high, speed.times) for speed in speeds))
        axes.axvline(1, color=colours["muted"], linewidth=0.8, linestyle=":")
        axes.set_xlabel("times as fast as plain decoding")

    return Chart("speedup", "Speed-up", note, draw, 0.9 + 0.32 * len(speeds))


def by_task(tasks: Sequence[tuple[str, int, Sequence[Speed]]], note: str) -> Chart:
    """A row for each of the largest tasks, with a mark and an interval for each contender."""
    if len(tasks) > TASKS:
        note = f"{note} The {TASKS} largest of {len(tasks)} tasks."
    tasks = tasks[:TASKS]
    labels = [f"{short(task)}\n{prompts:,} prompts" for task, prompts, _ in reversed(tasks)]
    names = [*dict.fromkeys(speed.name for *_, speeds in tasks for speed in speeds)]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        for row, (*_, speeds) in enumerate(reversed(tasks)):
            for speed in speeds:
                at = names.index(speed.name)
                shift = 0.6 * (0.5 - (at + 0.5) / len(names))
                ours = speed.name == OURS
                colour = colours["accent" if ours else "muted"]
                axes.hlines(row + shift, speed.low, speed.high, color=colour, linewidth=1.2)
                axes.plot(
                    speed.times, row + shift, _MARKS[at % len(_MARKS)], color=colour,
                    markersize=6 if ours else 4.5, label=short(speed.name) if row == 0 else None,
                )  # fmt: skip
        axes.set_yticks(range(len(tasks)), labels)
        axes.set_ylim(-0.6, len(tasks) - 0.4)
        axes.axvline(1, color=colours["muted"], linewidth=0.8, linestyle=":")
        axes.grid(axis="x", linewidth=0.5)
        axes.set_xlabel("times as fast as plain decoding")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7.5)

    return Chart("speedup_by_task", "Speed-up by task", note, draw, 1.5 + 0.55 * len(tasks))


def short(name: str, most: int = 22) -> str:
    """A label that leaves room for what it labels."""
    return name if len(name) <= most else name[: most - 1] + "…"
