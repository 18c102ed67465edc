"""From what `bench` and `replay` write as JSON to a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tascel.report.charts.drafts import drafted
from tascel.report.charts.memory import held
from tascel.report.charts.speed import OURS, Speed, by_task, speedups
from tascel.report.drawing import Chart
from tascel.report.page import Page, Table

Content = Mapping[str, Any]
_ALL = "All of them are shown."
_RESAMPLED = "Lines are 95 % bootstrap intervals over the answers."


def bench(content: Content, answers: Sequence[Content] = ()) -> Page:
    """The page of `tascel bench`, one prompt at a time. `answers` are as `bench.shown` tells."""
    rows = content["rows"]
    ours = _ours(rows)
    same = "every answer the same" if ours["identical"] else f"{ours['mismatches']} answers differ"
    tables = [Table(f"{content['examples']:,} prompts, one at a time", *_compared(rows))]
    unseen = content["unseen"]
    if 0 < unseen["examples"] < content["examples"]:
        title = f"The {unseen['examples']:,} whose answer does not stand in the bundle"
        tables.append(Table(title, *_compared(unseen["rows"])))
    charts = [speedups([*map(_total, rows)], f"All seconds, prompts' too. {_RESAMPLED}")]
    charts += _tasks(content, "rows", _total)
    return Page(
        f"tascel bench: {content['model']}",
        f"{ours['speedup_total']:.2f} times as fast as plain decoding in all, "
        f"{ours['speedup']:.2f} times after the first token; {same}.",
        _setting(content),
        tables=tables,
        charts=[*charts, *_drafts(content), *_memory(content)],
        answers=answers,
        chosen=_chosen(answers, content["examples"]),
        notes=_rounding(content),
    )


def batches(content: Content, answers: Sequence[Content] = ()) -> Page:
    """The page of `tascel bench --rows`. `answers` are as `bench.shown` tells."""
    rows, at_once = content["rows"], content["rows_at_once"]
    ours = _ours(rows)
    body = [
        [
            row["name"], f"{row['tokens_per_second']:.1f}", f"{row['speedup']:.2f}×",
            _span(row["interval"]), str(row["passes"] or ""), f"{row['drafted_share']:.0%}",
            _same(row),
        ]
        for row in rows
    ]  # fmt: skip
    heads = ("", "tokens/s", "speed-up", "least–most", "passes", "drafted", "same answers")
    speeds = [Speed(row["name"], row["speedup"], *row["interval"]) for row in rows]
    return Page(
        f"tascel bench: {content['model']}, {at_once} at a time",
        f"{ours['speedup']:.2f} times as fast as plain decoding, {at_once} prompts at a time.",
        _setting(content),
        tables=[Table(f"{content['examples']:,} prompts, {at_once} at a time", heads, body)],
        charts=[
            speedups(speeds, "Medians of interleaved runs; lines from the least to the greatest."),
            *_drafts(content),
            *_memory(content),
        ],
        answers=answers,
        chosen=_chosen(answers, content["examples"]),
        notes=_rounding(content),
    )


def replay(content: Content, answers: Sequence[Content] = ()) -> Page:
    """The page of `tascel replay`. `answers` are as `bench.shown` tells."""
    rows = content["drafts"]
    ours = _ours(rows)
    body = [
        [
            row["name"], f"{row['speedup_estimate']:.2f}×", _span(row["interval"]),
            f"{row['tokens_per_step']:.2f}", f"{row['drafted_per_step']:.1f}",
            f"{row['microseconds_per_step']:.0f}", _beside(row),
        ]
        for row in rows
    ]  # fmt: skip
    heads = ("", "speed-up", "95 %", "tokens a pass", "drafted", "µs a pass", "tascel is")
    estimated = "Estimated: tokens saved against what passes and drafting cost."
    return Page(
        "tascel replay",
        f"Drafts would make these answers {ours['speedup_estimate']:.2f} times as fast as plain "
        f"decoding, by what a pass costs; {ours['tokens_per_step']:.1f} tokens a pass.",
        (
            ("answers", f"{content['examples']:,}, {content['tokens']:,} tokens after the first"),
            ("price file", content["price_file"]),
            ("a pass of one token", f"{content['step_ms']:.4g} ms"),
            ("drafts", "trees" if content["trees"] else "chains only"),
        ),
        tables=[Table(f"{content['examples']:,} known answers, no model", heads, body)],
        charts=[
            speedups([*map(_estimate, rows)], f"{estimated} {_RESAMPLED}"),
            *_tasks(content, "drafts", _estimate),
            *_drafts(content),
        ],
        answers=answers,
        chosen=_chosen(answers, content["examples"]),
    )


def _ours(rows: Sequence[Content]) -> Content:
    return next(row for row in rows if row["name"] == OURS)


def _compared(rows: Sequence[Content]) -> tuple[Sequence[str], list[list[str]]]:
    heads = (
        "", "tokens/s", "speed-up", "total", "95 %", "tokens a pass", "drafted", "same answers"
    )  # fmt: skip
    body = [
        [
            row["name"], f"{row['tokens_per_second']:.1f}", f"{row['speedup']:.2f}×",
            f"{row['speedup_total']:.2f}×", _span(row["interval"]),
            f"{row['tokens_per_step']:.2f}", f"{row['drafted_share']:.0%}", _same(row),
        ]
        for row in rows
    ]  # fmt: skip
    return heads, body


def _span(interval: Sequence[float]) -> str:
    return "{:.2f}–{:.2f}".format(*interval)


def _same(row: Content) -> str:
    return "yes" if row["identical"] else f"no ({row['mismatches']})"


def _beside(row: Content) -> str:
    if row["name"] == OURS:
        return ""
    return f"{row['tascel_over_this']:.2f}× ({_span(row['interval_against_tascel'])})"


def _total(row: Content) -> Speed:
    return Speed(row["name"], row["speedup_total"], *row["interval"])


def _estimate(row: Content) -> Speed:
    return Speed(row["name"], row["speedup_estimate"], *row["interval"])


def _tasks(content: Content, key: str, speed: Any) -> list[Chart]:
    """The chart by task, where there are several."""
    tasks = [
        (part["task"], part["examples"], [speed(row) for row in part[key]])
        for part in content["tasks"]
    ]
    note = "By the task whose draft served a prompt."
    return [by_task(tasks, f"{note} {_RESAMPLED}")] if tasks else []


def _drafts(content: Content) -> list[Chart]:
    return drafted(content["drafting"], content["price_ms"]) if content["drafting"] else []


def _memory(content: Content) -> list[Chart]:
    return [held(content["memory_bytes"])]


def _rounding(content: Content) -> list[str]:
    """Why answers may differ, where some do."""
    if content["dtype"] == "float32" or all(row["identical"] for row in content["rows"]):
        return []
    return [
        f"{content['dtype']} rounds differently at other widths, so that two tokens which are "
        "nearly as likely can change places; `tascel verify` proves equality in float32."
    ]


def _setting(content: Content) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), str(content[name]))
        for name in ("model", "device", "dtype", "head", "price_file")
    ]


def _chosen(answers: Sequence[Content], examples: int) -> str:
    if not any(answer["rank"] for answer in answers):
        return _ALL
    return (
        f"{len(answers)} of {examples:,}: those with the most tokens a pass (best), from the "
        "middle, and with the fewest (worst)."
    )
