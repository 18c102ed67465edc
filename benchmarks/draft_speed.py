"""How fast is the draft, how large its index, and how quickly are both there?

    python benchmarks/draft_speed.py TRACES... --model MODEL --json results/draft_speed.json

A million tokens of the traces' own train outputs are indexed, and ten million: the same tiled, 2 %
of the tokens replaced. Held-out answers are walked token by token and each way drafts at every
position, arctic-inference's suffix tree (warmed with the same outputs) in its turn. Every round
walks answers that no round before has walked, after one that warms up; `flushed` means that 64 MB
are written before each draft. Builds, opening and memory are each measured in new processes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from draft_steps import DEPTHS, Task, batches, speeds
from index_cost import DRAFT, OPEN, alone, fresh, index, insert, warmed

from tascel.bundle import ALL, Bundle
from tascel.codec import Codec
from tascel.draft import trust as trusts
from tascel.draft.corpus import Corpus
from tascel.draft.knowledge import Knowledge
from tascel.draft.reader import Reader
from tascel.engines.profile import machine
from tascel.filling import fill
from tascel.learned import Learned
from tascel.records import Records
from tascel.store.folder import map_array
from tascel.store.manifest import Manifest
from tascel.store.replace import write_folder
from tascel.traces.folds import folds, groups
from tascel.traces.read import read_traces
from tascel.types import Ids, Trace

SAMPLE = 2000  # traces that trust is learned on
INSERTED = 400_000  # tokens whose memory in arctic's tree is measured
MICROSECONDS = {"chain of 16": 20, "tree of 32": 50}  # aimed at: median, warm, a million tokens


def read(paths: Sequence[str], model: str, tokens: int, held: int) -> Task:
    """Of each file a tenth of the train split, by groups, is held out of the index and of trust."""
    codec, rng = Codec.from_pretrained(model), np.random.default_rng(0)
    kept: list[Trace] = []
    asked: list[Trace] = []
    for path in paths:
        traces = [t for t in read_traces(path) if t.split in (None, "train")]
        fold = folds(groups(traces), 10)
        out = rng.permutation(np.flatnonzero(fold == 0))
        asked += [traces[i] for i in out[: held // len(paths)]]
        kept += [t for t, f in zip(traces, fold, strict=True) if f > 0]
    kept = [kept[i] for i in rng.permutation(len(kept))]
    asked = [asked[i] for i in rng.permutation(len(asked))]
    reader = Reader(codec.tokenizer)
    answers = [(codec.prompt(t.messages, t.tools), output) for t, output in codec.answers(kept)]
    prompts, outputs = zip(*answers[:SAMPLE], strict=True)
    trust = trusts.learn(
        outputs, prompts, [reader.words(p) for p in prompts], [reader.about(p) for p in prompts],
        [folds(groups(kept[:SAMPLE]), 3)], codec.vocab_size,
    )  # fmt: skip
    sizes = [1 + len(output) for _, output in answers]
    times = -(-tokens // sum(sizes))  # repeated where the traces are few
    enough = int(np.searchsorted(np.cumsum(sizes * times), tokens)) + 1
    held_out = [(codec.prompt(t.messages, t.tools), codec.answer(t)) for t in asked]
    return Task(codec, reader, (answers * times)[:enough], trust, held_out)


def learned(task: Task) -> Knowledge:
    """What the task's answers teach."""
    prompts, outputs = zip(*task.answers, strict=True)
    words, about = [task.reader.words(p) for p in prompts], [task.reader.about(p) for p in prompts]
    return Knowledge.of(outputs, words, about, task.codec.vocab_size)


def tiled(text: Ids, times: int) -> Ids:
    """The text repeated, 2 % of its tokens replaced by others of its own."""
    rng = np.random.default_rng(0)
    known, text = text[text >= 0], np.tile(text, times)
    places = np.flatnonzero((rng.random(len(text)) < 0.02) & (text >= 0))
    text[places] = rng.choice(known, len(places))
    return text


def saved(path: Path, task: Task) -> Bundle:
    """What was learned as `tascel build` leaves it, opened."""
    known = learned(task)

    def written(folder: Path) -> Manifest:
        prompts, outputs = zip(*task.answers, strict=True)
        records = Records.of(prompts, outputs, 0.0)
        fill(folder, task.codec, Learned(known, task.trust), "", records)
        codec = task.codec
        return Manifest(
            model="",
            weights=None,
            tokenizer=codec.fingerprint,
            vocab_size=codec.vocab_size,
            eos_ids=tuple(sorted(codec.eos_ids)),
            counts={},
            command=(),
            segments=(ALL,),
        )

    write_folder(path, written)
    return Bundle.open(path, task.codec)


def measure(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All figures."""
    task = read(args.traces, args.model, args.tokens, args.held)
    bundle = saved(scratch / "bundle", task)
    small, large = bundle.path / ALL, scratch / "large"
    large.mkdir()
    np.save(large / "text.npy", tiled(bundle.corpus.text, 10))
    outputs = [output for _, output in task.answers]
    some = int(np.searchsorted(np.cumsum([*map(len, outputs)]), INSERTED))
    content: dict[str, Any] = {
        "machine": machine(),
        "build": [alone(index, folder) for folder in (small, large)],
        "arctic_build": [alone(insert, outputs[:some], depth) for depth in DEPTHS],
        "open_ms": fresh(OPEN, small, args.repeats),
        "first_proposal_ms": fresh(DRAFT, bundle.path, args.repeats),
    }
    cache = warmed(outputs, DEPTHS[0])
    steps = speeds(task, bundle.knowledge, cache, args.repeats)
    content["batches"] = batches(task, bundle.knowledge, cache)
    del cache
    corpus = Corpus(*(map_array(large / f"{name}.npy", np.int32) for name in ("text", "array")))
    known = replace(bundle.knowledge, corpus=corpus)
    content["steps"] = steps + speeds(task, known, None, args.repeats)
    return content


def show(content: dict[str, Any]) -> None:
    """Print all figures."""
    print(f"{content['machine']}; microseconds as median / p99\n")
    table("One draft, and accepting one token", ("", "tokens", "", "caches", "who"),
          ("drafted", "µs", "of it compiled", "accept", "aim"), [
        (row["shape"], f"{row['tokens']:,}", "priced" if row["priced"] else "full",
         "flushed" if row["flushed"] else "warm", row["who"], f"{row['drafted']:.1f}",
         both(row["ask"]), both(row["kernel"]) if "kernel" in row else "", both(row["accept"]),
         aim(row))
        for row in content["steps"]
    ])  # fmt: skip
    table("16 rows, priced", ("", "who"), ("µs a batch", "µs a row"), [
        (row["shape"], row["who"], both(row["call"]), f"{row['call']['median'] / 16:.1f}")
        for row in content["batches"]
    ])  # fmt: skip
    table("Index", ("who",), ("tokens", "tokens/s", "B/token to build", "B/token kept"), [
        *(("tascel", f"{b['tokens']:,}", f"{b['tokens_per_second']:,.0f}",
           f"{b['extra_bytes_per_token']:.1f}", f"{b['disk_bytes_per_token']:.2f} on disk")
          for b in content["build"]),
        *((f"arctic, depth {b['depth']}", f"{b['tokens']:,}", f"{b['tokens_per_second']:,.0f}", "",
           f"{b['resident_bytes_per_token']:.0f} in memory, cannot be saved")
          for b in content["arctic_build"]),
        ("aim", "", "4,000,000", "28", "9 on disk"),
    ])  # fmt: skip
    stages = content["first_proposal_ms"]
    table("A new process, milliseconds", ("until",), (*stages, "aim"), [
        ("the index is mapped", f"{content['open_ms']['wall']:.0f}", "", "",
         f"{content['open_ms']['map']:.2f}", "", "", "5 to open"),
        ("the first proposal", *(f"{ms:.1f}" for ms in stages.values()), "1000 in all"),
    ])  # fmt: skip


def both(spread: dict[str, float]) -> str:
    return f"{spread['median']:.1f} / {spread['p99']:.0f}"


def aim(row: dict[str, Any]) -> str:
    aimed = row["who"] == "tascel" and row["priced"] and not row["flushed"]
    return str(MICROSECONDS[row["shape"]]) if aimed and row["tokens"] < 2_000_000 else ""


def table(
    title: str, texts: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left")
    for text in texts:
        drawn.add_column(text)
    for number in numbers:
        drawn.add_column(number, justify="right")
    for row in rows:
        drawn.add_row(*row)
    Console(width=132).print(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="+", help="JSONL files, one a task")
    parser.add_argument("--model", required=True, help="whose tokenizer writes the ids")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--held", type=int, default=420, help="answers walked, over all tasks")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        content = measure(args, Path(scratch))
    if args.json:
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    show(content)


if __name__ == "__main__":
    main()
