"""Tables of engines side by side, and of what breakers save up in one of them."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import geometric_mean

RESULTS = Path(__file__).parents[1] / "results"


def vllm() -> str:
    """Tokens a second in vLLM, of those who learn in the first and in the last window."""
    lines = [
        "| task, requests at a time | none | ngram | suffix: first, last | warmed: first, last "
        "| **tascel**: first, last | over suffix | over warmed | over none |",
        f"|---|{'---:|' * 8}",
    ]
    for path in sorted(RESULTS.glob("vllm_speed_*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        for count, by_name in report["at_a_time"].items():
            learning = [by_name[name] for name in ("suffix", "warmed", "tascel")]
            ours = learning[-1]
            asked, window = report["requests"], report["window"]
            cells = [f"{report['task']} ({asked} requests, windows of {window}), {count}"]
            cells += [f"{by_name[name]['first']:.0f}" for name in ("none", "ngram")]
            cells += [f"{row['first']:.0f}, {row['last']:.0f}" for row in learning]
            cells += [
                f"{ours['first'] / row['first']:.2f}, {ours['last'] / row['last']:.2f}"
                for row in learning[:-1]
            ]
            cells.append(f"{ours['first'] / by_name['none']['first']:.2f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


#: Engines and what drafts in them, as results/engines*.json name them.


ENGINES = {
    "transformers": "transformers `generate`",
    "transformers-lookup": "transformers, prompt lookup",
    "tascel": "**tascel, PyTorch**",
    "vllm": "vLLM",
    "vllm-best": "vLLM, suffix tree warmed with our corpus",
    "vllm-tascel": "**tascel in vLLM**",
    "llamacpp": "llama.cpp",
    "llamacpp-lookup": "llama.cpp, prompt lookup",
    "llamacpp-tascel": "**tascel in llama.cpp**",
    "genai": "OpenVINO GenAI",
    "genai-lookup": "OpenVINO GenAI, prompt lookup",
    "openvino-fp16": "**tascel, OpenVINO**",
    "openvino-int8": "**tascel, OpenVINO**",
}


def short() -> str:
    """README's: milliseconds an answer by engine, times as fast as stock transformers."""
    report = json.loads((RESULTS / "engines.json").read_text(encoding="utf-8"))
    tasks = {
        task: {row["name"]: row for row in found["rows"]} for task, found in report["tasks"].items()
    }
    first = next(iter(tasks.values()))
    lines = [
        f"| ms an answer | weights | {' | '.join(tasks)} |",
        f"|---|---|{'---:|' * len(tasks)}",
    ]
    for name in sorted(first, key=lambda name: -first[name]["ms_mean"]):
        cells = [ENGINES[name], first[name]["settings"].get("form", "bf16")]
        for rows in tasks.values():
            over, *_ = rows[name]["faster_than"]["transformers"]
            cells.append(f"{rows[name]['ms_mean']:,.0f} ({over:.1f}×)")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def again() -> str:
    """The quickest engines once more: milliseconds an answer, times as fast as ours in PyTorch."""
    names = {
        "openvino-fp16": "**tascel, OpenVINO** fp16",
        "openvino-int8": "**tascel, OpenVINO** int8",
        "tascel": "**tascel, PyTorch**",
        "vllm-best": "vLLM, suffix tree warmed with our corpus",
    }
    tasks = json.loads((RESULTS / "engines_again.json").read_text(encoding="utf-8"))["tasks"]
    lines = [f"| | {' | '.join(tasks)} |", f"|---|{'---:|' * len(tasks)}"]
    for name, title in names.items():
        rows = [next(r for r in found["rows"] if r["name"] == name) for found in tasks.values()]
        cells = [
            "{:.0f}, {:.2f}× ({:.2f}–{:.2f})".format(row["ms_mean"], *row["faster_than"]["tascel"])
            for row in rows
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def engines() -> str:
    """Engines on one machine, by task, quickest first: tokens a second, milliseconds an answer,
    how many times as fast as stock transformers and as ours under PyTorch, memory, load, score."""
    lines = [
        "| task | engine | weights | tokens/s | ms an answer: mean, median | over transformers "
        "(95 %) | over tascel, PyTorch (95 %) | MB | load, s | right | as transformers |",
        f"|---|---|---|{'---:|' * 8}",
    ]
    report = json.loads((RESULTS / "engines.json").read_text(encoding="utf-8"))
    for task, found in report["tasks"].items():
        for row in sorted(found["rows"], key=lambda row: row["ms_mean"]):
            over = row["faster_than"]
            same = row["same_as_reference"]
            cells = [
                f"{task} ({row['prompts']})",
                ENGINES[row["name"]],
                row["settings"].get("form", "bf16"),
                f"{row['tokens_per_second']:.0f}",
                f"{row['ms_mean']:.0f}, {row['ms_median']:.0f}",
                *(
                    "{:.2f}× ({:.2f}–{:.2f})".format(*over[other]) if over.get(other) else ""
                    for other in ("transformers", "tascel")
                ),
                f"{row['rss_bytes'] / 1e6:.0f}",
                f"{row['load_seconds']:.1f}",
                f"{row['exact']:.0%}",
                "" if same is None else f"{same:.0%}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def saved() -> str:
    """What breakers save up, in llama.cpp: times as fast as plain decoding, by passes saved up."""
    tasks = json.loads((RESULTS / "saved.json").read_text(encoding="utf-8"))["tasks"]
    shown = [(price, passes) for price in ("Q4_1", "Q8_0") for passes in ("0", "8", "24", "48")]
    heads = [f"{price}, {passes}" for price, passes in shown]
    lines = [f"| times as fast | {' | '.join(heads)} |", f"|---|{'---:|' * len(shown)}"]

    def cells(rows: list[dict], answers: str) -> list[list[float]]:
        return [[row["prices"][p][answers][n] for row in rows] for p, n in shown]

    for task, row in tasks.items():
        lines.append(named(task, [values[0] for values in cells([row], "own")]))
    every = [*tasks.values()]
    lines.append(named("mean", [geometric_mean(values) for values in cells(every, "own")]))
    for answers, title in (("turned", "from the middle on"), ("foreign", "from the start")):
        lowest = [min(values) for values in cells(every, answers)]
        lines.append(named(f"lowest, another task's answers {title}", lowest))
    return "\n".join(lines)


def named(title: str, values: list[float]) -> str:
    return f"| {title} | {' | '.join(f'{value:.2f}' for value in values)} |"
