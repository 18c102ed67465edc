"""From what `advise` writes as JSON to a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tascel.advise.recommend import title
from tascel.report.charts import advice as charts
from tascel.report.drawing import Chart
from tascel.report.page import Page, Table

Content = Mapping[str, Any]


def advise(content: Content) -> Page:
    """The page of `tascel advise`."""
    said = content["recommendation"]
    steps = said["steps"]
    first = next((step for step in steps if step["kind"] == said["kind"]), steps[0])
    return Page(
        "tascel advise",
        first["words"],
        (
            ("traces", f"{content['read']:,}, {content['answered']:,} of them answered"),
            ("learned from", f"{content['learned']:,}"),
            ("replayed", f"{content['replayed']:,} held-out answers"),
        ),
        steps=[
            ("" if step is first is steps[0] else step["words"], step["commands"]) for step in steps
        ],
        notes=[
            *said["cautions"],
            *([content["tokens"]["note"]] if content["tokens"]["note"] else []),
            *(f"Not measured: {e['engine']} with {e['model']}: {e['do']}"
              for e in content["to_measure"]),
            *(f"Without {entry['engine']}: {entry['do']}" for entry in content["absent"]),
        ],
        tables=[*_tables(content)],
        charts=[*_charts(content)],
    )  # fmt: skip


def _tables(content: Content) -> Iterator[Table]:
    foretold = content["engines"] or [content["foretold"]]
    named = [*map(title, content["engines"])] or ["passes of SmolLM2-135M, 2 CPU cores"]
    heads = ["", "ms an answer", "without drafts", "gain", "95 %", "tokens a pass"]
    rows = [[name, *_line(line)] for name, line in zip(named, foretold, strict=True)]
    if any(line["alike"] for line in foretold):
        heads.append("gain, known groups")
        for row, line in zip(rows, foretold, strict=True):
            row.append(f"{line['alike']['gain']:.2f}×" if line["alike"] else "")
    yield Table("What an answer would take", heads, rows)
    yield Table("What the traces are like", ("", ""), [*_facts(content)])
    if content["tasks"]:
        heads = ("", "traces", "share", "tokens", "tokens a pass, own draft", "one for all")
        rows = [
            [
                task["name"], f"{task['traces']:,}", f"{task['share']:.0%}",
                f"{task['answer_tokens']:.0f}", f"{task['own']:.1f}", f"{task['pooled']:.1f}",
            ]
            for task in content["tasks"]
        ]  # fmt: skip
        yield Table(f"{len(rows)} tasks were found", heads, rows)


def _line(line: Content) -> list[str]:
    return [
        f"{line['drafted_ms']:,.0f}", f"{line['plain_ms']:,.0f}", f"{line['gain']:.2f}×",
        "{:.2f}–{:.2f}".format(*line["interval"]), f"{line['tokens_per_pass']:.1f}",
    ]  # fmt: skip


def _facts(content: Content) -> Iterator[tuple[str, str]]:
    repeated, copied = content["repeated"], content["copied"]
    yield "answers that another repeats word for word", f"{repeated['verbatim']:.0%}"
    yield "held-out answers that were learned word for word", f"{repeated['known']:.0%}"
    for run, share in repeated["runs"].items():
        if share is not None:
            yield f"runs of {run} tokens that stand in another answer", f"{share:.0%}"
    for run, share in copied["words"].items():
        yield f"words copied from the prompt, {run} or more in a row", f"{share:.0%}"
    for run, share in copied["tokens"].items():
        yield f"tokens copied from the prompt, {run} or more in a row", f"{share:.0%}"
    words = content["vocabulary"]
    yield "ids that answers write", f"{words['written']:,} of {words['size']:,}"
    yield "2-Rényi entropy of the answers' tokens", f"{content['entropy']['renyi2']:.1f} bits"


def _charts(content: Content) -> Iterator[Chart]:
    yield charts.lengths(content["lengths"])
    yield charts.entropy(content["entropy"])
    if content["engines"]:
        yield charts.engines(content["engines"], [*map(title, content["engines"])])
    if content["tokens"]["curve"]:
        yield charts.budget(content["tokens"])
    if content["vocabulary"]["head"] is not None:
        yield charts.head(content["vocabulary"])
