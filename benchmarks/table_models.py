"""Tables of models that were changed: new tokens, tailored heads, bridges, neural drafts."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"


def tokens() -> str:
    """Trainings with and without new tokens: answers, scores, and time without and with drafts."""
    lines = [
        "| task, new tokens | tokens an answer | exact | in points (95 %) | F1 | ms an answer "
        "| faster (95 %) | with drafts: ms | faster |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("new_tokens_*.json"), reverse=True):
        report = json.loads(path.read_text(encoding="utf-8"))
        corners = {(row["name"], row["drafts"]): row for row in report["corners"]}
        for model in report["models"]:
            plain, drafted = (corners[model["name"], drafts] for drafts in (False, True))
            apart, *ends = (100 * value for value in model["exact_over_first"])
            low, high = plain["interval"]
            fewer = f" ({model['fewer_tokens']:.1f}× fewer)"
            points = f"{apart:+.1f} ({ends[0]:+.1f} to {ends[1]:+.1f})"
            faster = f"{plain['faster']:.2f}× ({low:.2f}–{high:.2f})"
            new = model is not report["models"][0]
            cells = (
                f"{report['task']}, {model['training']['new_tokens']}",
                f"{model['tokens_an_answer']:.1f}{fewer if new else ''}",
                f"{model['exact']:.1%}",
                points if new else "",
                f"{model['f1']:.1%}",
                f"{milliseconds(plain):.0f}",
                faster if new else "",
                f"{milliseconds(drafted):.0f}",
                f"{drafted['faster']:.2f}×",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tailored() -> str:
    """Heads of the same model by task: memory, time without and with drafts, scores, misses."""
    lines = [
        "| task | head | vocabulary, MB | load, s | anonymous / file, MB | ms a token "
        "| faster (95 %) | with drafts: ms an answer | faster | exact | tokens missed "
        "| taken back |",
        f"|---|---|{'---:|' * 10}",
    ]
    paths = sorted(RESULTS.glob("tailored_*.json"))
    for path in (p for p in paths if not p.stem.startswith("tailored_exact")):
        report = json.loads(path.read_text(encoding="utf-8"))
        padded = ", padded" if path.stem.endswith("_padded") else ""
        for row in report["heads"]:
            plain, drafted = row["plain"], row["drafted"]
            low, high = plain["faster_step_interval"]
            saved = f" (−{row['vocabulary_saved']:.1%})" if row["vocabulary_saved"] else ""
            resident = [row[f"{kind}_answered"] / 1e6 for kind in ("anonymous", "checkpoint")]
            cells = (
                f"{report['task']}{padded}",
                row["head"],
                f"{row['vocabulary_bytes'] / 1e6:.1f}{saved}",
                f"{row['load_seconds']:.1f}",
                " / ".join(f"{size:.0f}" for size in resident),
                f"{plain['ms_a_step']:.1f}",
                f"{plain['faster_step']:.2f}× ({low:.2f}–{high:.2f})",
                f"{drafted['ms_a_answer']:.0f}",
                f"{drafted['faster']:.2f}×",
                f"{row['exact']:.1%}",
                f"{row['misses']:.2%}" if "misses" in row else "",
                f"{plain['rolled_back']:.1%}" if plain["ahead"] else "",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def corners() -> str:
    """Every combination of drafts, new tokens and a lossless head: milliseconds an answer."""
    lines = [
        "| task | new tokens, head | ms an answer | faster (95 %) | with drafts: ms "
        "| faster (95 %) |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("corners_*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = {(row["name"], row["drafts"]): row for row in report["corners"]}
        for name in dict.fromkeys(name for name, _ in rows):
            cells = [report["task"], name]
            for row in (rows[name, False], rows[name, True]):
                low, high = row["interval"]
                faster = f"{row['faster']:.2f}× ({low:.2f}–{high:.2f})"
                cells += [f"{milliseconds(row):.0f}", faster]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def bridge() -> str:
    """By task and model: right answers, and milliseconds without drafts and with, each also as
    times faster than the large model without drafts; then bridged against large, both drafted."""
    lines = [
        "| task | model | right | of the gap (95 %) | ms an answer | faster | with drafts: ms "
        "| faster (95 %) | over large with drafts (95 %) |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("bridge_*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = {(row["name"], row["drafts"]): row for row in report["times"]}
        for model in report["models"]:
            name = model["name"]
            plain, drafted = rows[name, False], rows[name, True]
            lead = report["over_large_with_drafts"].get(name)
            closed = model["gap_closed"] if lead else None
            cells = [
                report["task"],
                name,
                f"{model['exact']:.1%}",
                "{:.0%} ({:.0%} to {:.0%})".format(*closed) if closed else "",
                f"{milliseconds(plain):.0f}",
                f"{plain['faster']:.2f}×",
                f"{milliseconds(drafted):.0f}",
                "{:.2f}× ({:.2f}–{:.2f})".format(drafted["faster"], *drafted["interval"]),
                "{:.2f}× ({:.2f}–{:.2f})".format(*lead) if lead else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def neural() -> str:
    """By task and draft: chains of four along known answers, then what timed runs made of it."""
    names = {"generic": "one neural draft for all", "own": "the task's own neural draft",
             "n-grams": "the task's n-grams", "both": "n-grams and neural", "choice": "**choice**",
             "none": "none"}  # fmt: skip
    lines = [
        "| traces, task | draft | first of four right | of four right | tokens a pass "
        "| ms an answer | faster (95 %) | same answers |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for path in sorted(RESULTS.glob("neural_*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        for task, found in report["tasks"].items():
            for row in found["ways"]:
                chain = found["chains"].get(row["name"])
                low, high = row["interval"]
                cells = [
                    f"{report['task']}, {task} ({found['prompts']})",
                    names[row["name"]],
                    f"{chain['first']:.1%}" if chain else "",
                    f"{chain['accepted']:.1%}" if chain else "",
                    f"{row['tokens_per_pass']:.2f}",
                    f"{row['ms_a_answer']:.0f}",
                    f"{row['speedup']:.2f}× ({low:.2f}–{high:.2f})",
                    "yes" if not row["mismatches"] else f"{row['mismatches']} differ",
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def milliseconds(row: dict) -> float:
    return row["prefill_ms"] + row["decode_ms"]
