"""How long builds of many tokens take, and how much memory, by phase and number of workers.

Traces are varied from real ones, those of the split `train` only: what a prompt and its answer
share is replaced in both. Every build is a process of its own. Memory is that of the build and of
all its workers without mapped files, read from /proc, so this runs on Linux only. What another run
has measured already stays in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter, sleep

WORD = re.compile(r"\w+")
#: What words are made of that stand for others.
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*")
    parser.add_argument("--model", help="needed unless --show is given")
    parser.add_argument("--millions", default="1,5,20,50", help="of output tokens")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="what the file says, as Markdown")
    parser.add_argument("--build", nargs=3, help="used by itself: traces, bundle, workers")
    args = parser.parse_args()
    if args.show:
        show(json.loads(args.json.read_text())["rows"])
        return
    if args.build:
        build(args.model, *args.build)
        return
    rows = json.loads(args.json.read_text())["rows"] if args.json.exists() else []
    for millions in map(float, args.millions.split(",")):
        missing = [
            workers
            for workers in args.workers.split(",")
            if not any((r["millions"], str(r["workers"])) == (millions, workers) for r in rows)
        ]
        if not missing:
            continue
        with tempfile.TemporaryDirectory(dir=args.json.parent) as folder:
            file = Path(folder) / "traces.jsonl"
            write(args.traces, args.model, millions * 1e6, file)
            for workers in missing:
                rows.append({"millions": millions, **measured(args, file, workers)})
                print(json.dumps(rows[-1]), flush=True)
                rows.sort(key=lambda row: (row["millions"], str(row["workers"])))
                facts = {"cores": os.cpu_count(), "tasks": [Path(t).stem for t in args.traces]}
                args.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")


def write(paths: list[str], model: str, tokens: float, file: Path) -> None:
    """Traces with about so many tokens of answers."""
    from tascel.codec import Codec
    from tascel.traces.read import read_traces

    codec, rng = Codec.from_pretrained(model), random.Random(0)
    # evenly of all tasks, and one behind the other in turns
    known = [[t for t in read_traces(path) if t.split in (None, "train")] for path in paths]
    written, lengths = 0.0, []
    with file.open("w", encoding="utf-8") as out:
        while written < tokens:
            texts = [varied(rng.choice(known[i % len(known)]), rng) for i in range(1000)]
            for prompt, output in texts:
                out.write(json.dumps({"prompt": prompt, "output": output}) + "\n")
            if len(lengths) < 20:  # enough to know how long answers are
                encoded = codec.tokenizer.encode_batch_fast([output for _, output in texts])
                lengths += [sum(len(e.ids) + 1 for e in encoded)]
            written += sum(lengths) / len(lengths)


def varied(trace, rng: random.Random) -> tuple[str, str]:
    """The trace with other words where prompt and answer share them, and other numbers."""
    prompt, output = trace.prompt_text, str((trace.answer or {}).get("content") or "")
    shared = set(WORD.findall(prompt)) & set(WORD.findall(output))
    new = {word: other(word, rng) for word in sorted(shared) if len(word) > 3 or word.isdigit()}

    def said(match: re.Match[str]) -> str:
        return new.get(match[0], match[0])

    return WORD.sub(said, prompt), WORD.sub(said, output)


def other(word: str, rng: random.Random) -> str:
    if word.isdigit():
        return str(rng.randrange(10 ** len(word)))
    made = "".join(rng.choices(SYLLABLES, k=max(1, len(word) // 3)))
    return made.capitalize() if word[0].isupper() else made


def measured(args: argparse.Namespace, file: Path, workers: str) -> dict:
    """One build: its phases, with seconds and gigabytes."""
    bundle = file.parent / "bundle"
    command = [sys.executable, __file__, *args.traces, "--model", args.model]
    command += ["--json", str(args.json), "--build", str(file), str(bundle), workers]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"workers": int(workers) if workers.isdigit() else workers, **json.loads(done.stdout)}


def build(model: str, traces: str, out: str, workers: str) -> None:
    """Build once, in this process, and print what it took."""
    from tascel.builder import build

    phase, began, peaks, seconds = "starting", perf_counter(), {"starting": 0}, {}
    over, start = threading.Event(), perf_counter()

    def heard(stage: str, done: int, total: int | None) -> None:
        nonlocal phase, began
        if stage != phase:
            seconds[phase] = seconds.get(phase, 0) + perf_counter() - began
            phase, began = stage, perf_counter()
            peaks.setdefault(stage, 0)

    def watch() -> None:
        while not over.is_set():
            peaks[phase] = max(peaks[phase], memory(os.getpid()))
            sleep(0.2)

    def heard_till_written(stage: str, done: int, total: int | None) -> None:
        heard(stage, done, total)
        if stage == "learning tasks" and done == total:
            heard("writing", 0, None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    bundle = build(traces, model, out, progress=heard_till_written, workers=workers)
    over.set()
    watcher.join()
    heard("over", 0, None)
    counts = bundle.manifest.counts
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    print(
        json.dumps(
            {
                "traces": counts["traces"],
                "tokens": counts["tokens"],
                "tasks": len(bundle.tasks),
                "file_megabytes": round(Path(traces).stat().st_size / 1e6, 1),
                "bundle_megabytes": round(size / 1e6, 1),
                "seconds": round(perf_counter() - start, 1),
                "phases": {
                    name: {"seconds": round(took, 1), "gigabytes": round(peaks[name] / 1e9, 2)}
                    for name, took in seconds.items()
                },
            }
        )
    )


def show(rows: list[dict]) -> None:
    """The tables of docs/scale.md: what was measured, and what that makes for a terabyte."""
    phases = list(dict.fromkeys(name for row in rows[::-1] for name in row["phases"]))
    heads = [f"{row['tokens'] / 1e6:,.1f} M tokens, {row['workers']} workers" for row in rows]
    print(f"| | {' | '.join(heads)} |\n|---|{'---:|' * len(rows)}")
    print(f"| traces | {' | '.join(format(row['traces'], ',') for row in rows)} |")
    for name in phases:
        found = [row["phases"].get(name) for row in rows]
        cells = [f"{p['seconds']:,.0f} s, {p['gigabytes']:.1f} GB" if p else "" for p in found]
        print(f"| {name} | {' | '.join(cells)} |")
    totals = [f"{row['seconds']:,.0f} s" for row in rows]
    print(f"| **all** | {' | '.join(totals)} |")
    # a process alone lets its tokenizer use all processors, several do not
    largest = max(rows, key=lambda row: (row["tokens"], row["workers"]))
    seconds = largest["phases"]["reading traces"]["seconds"]
    reading = seconds * largest["workers"] / largest["file_megabytes"]
    rest = (largest["seconds"] - seconds) * 64e6 / largest["tokens"]
    print(f"\nreading: {reading:.2f} s a megabyte and core")
    print(f"the rest, of 64 million tokens: {rest:,.0f} s")
    print("\n| cores | 1 TB: reading, hours | all, hours |\n|---:|---:|---:|")
    for cores in (16, 128, 1024):
        hours = 1e6 * reading / cores / 3600
        print(f"| {cores:,} | {hours:,.1f} | {hours + rest / 3600:,.1f} |")


def memory(pid: int) -> int:
    """Bytes that a process and its children hold, without mapped files."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += 1024 * int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(map(memory, map(int, (task / "children").read_text().split())))
    except (OSError, ValueError):
        pass  # it has ended
    return total


if __name__ == "__main__":
    main()
