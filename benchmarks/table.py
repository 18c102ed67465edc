"""Prints the tables of numbers in README.md and docs/draft.md from the files in results/.

python benchmarks/table.py            README.md's: the model's own answers, timed
python benchmarks/table.py batches    README.md's second: many at a time
python benchmarks/table.py replay     README.md's third: known answers, replayed
python benchmarks/table.py all        docs/draft.md's: the same with every rule
python benchmarks/table.py tokens     docs/new-tokens.md's: models with new tokens
python benchmarks/table.py tailored   docs/tailor.md's: heads with rows for one task
python benchmarks/table.py corners    docs/tailor.md's: drafts, new tokens, heads
python benchmarks/table.py vllm       docs/vllm.md's: vLLM's own drafts and ours
python benchmarks/table.py neural     docs/neural.md's: neural drafts beside n-grams, by task
python benchmarks/table.py bridge     docs/bridge.md's: a large model, a small one, and both
python benchmarks/table.py engines    docs/openvino.md's: engines side by side, with and without
python benchmarks/table.py short      README's: the same, milliseconds only
python benchmarks/table.py again      docs/openvino.md's second one: the quickest of them once more
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from statistics import geometric_mean

RESULTS = Path(__file__).parents[1] / "results"
NAMES = {
    "none": "plain decoding, our loop",
    "transformers": "transformers `generate`",
    "prompt-lookup": "its prompt lookup",
    "tasc-paper": "TASC-spec as published",
    "tascel": "**tascel**",
}
DRAFTS = {
    "prompt-lookup": "prompt lookup (transformers)",
    "suffix-cold": "suffix decoding as vLLM starts it, learning",
    "suffix-warm": "suffix decoding warmed with the corpus",
    "tasc-paper": "TASC-spec as published",
    "tasc-tuned": "TASC-spec, tuned",
    "rule:backoff": "our index and growth, rule `backoff`",
    "rule:longest": "rule `longest`",
    "rule:best": "rule `best`",
    "rule:interpolate": "rule `interpolate`",
    "rule:interpolate-24": "rule `interpolate`, 24-grams seen once",
    "relearned:neither": "tascel, neither neighbours nor slots",
    "relearned:no-neighbours": "tascel without neighbours",
    "relearned:no-slots": "tascel without slots",
    "chain": "tascel, chains only",
    "tascel": "**tascel**",
}
LEADS = {"suffix-warm": "warmed suffix decoding", "tasc-paper": "TASC-spec"}


def line(label: str, row: dict) -> str:
    low, high = row["interval"]
    cells = (
        label,
        f"{row['tokens_per_second']:.1f}",
        f"{row['speedup']:.2f}×",
        f"{row['speedup_total']:.2f}× ({low:.2f}–{high:.2f})",
        f"{row['tokens_per_step']:.2f}",
        f"{row['drafted_share']:.0%}",
        "yes" if row["identical"] else f"{row['mismatches']} differ",
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    content = json.loads((RESULTS / "home_assistant_bf16.json").read_text(encoding="utf-8"))
    unseen = content["unseen"]
    lines = [
        f"| {content['examples']} held-out commands | tokens/s | speed-up | total (95 %) | "
        "tokens a pass | drafted | same answers |",
        "|---|---:|---:|---:|---:|---:|---|",
        *(line(NAMES[row["name"]], row) for row in content["rows"]),
        *(
            line(f"tascel, the {unseen['examples']} answers not in train", row)
            for row in unseen["rows"]
            if row["name"] == "tascel"
        ),
    ]
    return "\n".join(lines)


def batches() -> str:
    """Whole runs over batches, a column pair for each file."""
    files = [f"home_assistant_batch_{which}.json" for which in ("8", "16", "500")]
    found = [json.loads((RESULTS / name).read_text(encoding="utf-8")) for name in files]
    heads = [f"{c['examples']} prompts, {c['rows_at_once']} at a time" for c in found]
    lines = [f"| tokens/s (speed-up) | {' | '.join(heads)} |", f"|---|{'---:|' * len(found)}"]
    for at, name in enumerate(row["name"] for row in found[0]["rows"]):
        rows = [content["rows"][at] for content in found]
        cells = [f"{row['tokens_per_second']:.0f} ({row['speedup']:.2f}×)" for row in rows]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def along_the_way() -> list[float]:
    """What the same answers bring a bundle that learns each of them when it is whole."""
    found = json.loads((RESULTS / "replay_learning.json").read_text(encoding="utf-8"))["tasks"]
    rows = [row for task in found.values() for row in task["drafts"]]
    return [row["speedup_estimate"] for row in rows if row["name"] == "learning"]


def replayed(names: Collection[str]) -> str:
    """The drafts' estimated speed-up by task, and tascel's lead over two of them."""
    tasks = json.loads((RESULTS / "replay.json").read_text(encoding="utf-8"))["tasks"]
    rows = [{row["name"]: row for row in found["drafts"]} for found in tasks.values()]
    lines = [
        f"| estimated speed-up | {' | '.join(tasks)} | mean |",
        f"|---|{'---:|' * (len(tasks) + 1)}",
        *(
            means(label, [row[name]["speedup_estimate"] for row in rows])
            for name, label in DRAFTS.items()
            if name in names
        ),
        means("**tascel, learning online**", along_the_way()),
        *(
            means(f"tascel over {label}", [over(row, name) for row in rows])
            for name, label in LEADS.items()
        ),
    ]
    return "\n".join(lines)


def over(rows: dict, name: str) -> float:
    """How many times faster ours is than the better of a peer's tuned settings and its defaults."""
    return min(row["tascel_over_this"] for n, row in rows.items() if n in (name, f"{name}@default"))


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


def milliseconds(row: dict) -> float:
    return row["prefill_ms"] + row["decode_ms"]


def means(label: str, values: list[float]) -> str:
    cells = [f"{value:.2f}" for value in [*values, geometric_mean(values)]]
    return f"| {label} | {' | '.join(cells)} |"


if __name__ == "__main__":
    tables = {
        "batches": batches,
        "replay": lambda: replayed([name for name in DRAFTS if not name.startswith("rule:")]),
        "all": lambda: replayed(DRAFTS),
        "tokens": tokens,
        "tailored": tailored,
        "corners": corners,
        "vllm": vllm,
        "bridge": bridge,
        "neural": neural,
        "engines": engines,
        "short": short,
        "again": again,
    }
    print(tables.get(sys.argv[-1], table)())
