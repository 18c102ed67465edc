"""Does learning online keep within its bounds, however long it goes on?

    python benchmarks/learn_bound.py --model M --json results/learn_bound.json

A million answers, one each two seconds of a clock that is set by hand, so that it is 23 days, are
learned into a bundle of a few made ones, all as a server does it but on one thread. Prompts and
answers are made from templates, most of them with words of their own; a template is used for some
ten thousand answers and then another. Noted along the way: resident memory, open files, files and
bytes in the bundle's folder, what is in memory, and seconds spent. `growth` compares the last tenth
with the second one, by medians.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.cli.console import out, progress
from tascel.codec import Codec
from tascel.draft.ngram import DraftConfig
from tascel.engines.profile import machine
from tascel.learning import LearnConfig, Learner
from tascel.store.file import whole_file
from tascel.store.folder import check_folder
from tascel.types import Request, Trace

SECONDS = 2.0  # between two answers
SHIFT = 10_000  # answers
SYLLABLES = ("ka", "lo", "mi", "ren", "tu", "vas", "pel", "dor", "sin", "gha")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="its tokenizer is used")
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=10_000, help="of answers to keep")
    parser.add_argument("--every", type=int, default=5_000, help="answers between two notes")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    learn = LearnConfig(tokens=args.tokens, flush=600.0, days=7.0, background=False)
    notes: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        build([trace(*pair) for pair in made(300, Random(1))], args.model, path)
        for one in run(path, Codec.from_pretrained(args.model), learn, args.answers, args.every):
            notes.append(one)
            write(args.json, learn, notes)  # a run that is stopped has told something, too
        check_folder(path)
    out.print_json(json.dumps(growth(notes)))


def write(path: Path, learn: LearnConfig, notes: list[dict[str, Any]]) -> None:
    answers = notes[-1]["answers"]
    found = {
        "machine": machine(),
        "answers": answers,
        "simulated_days": round(answers * SECONDS / 86_400, 1),
        "config": asdict(learn),
        "growth": growth(notes),
        "notes": notes,
    }
    with whole_file(path) as file:
        file.write(json.dumps(found, indent=1) + "\n")


def trace(asked: str, said: str) -> Trace:
    return Trace(({"role": "user", "content": asked},), {"role": "assistant", "content": said})


def made(count: int, chance: Random) -> Iterator[tuple[str, str]]:
    """So many questions and answers, whose template changes from time to time."""
    template = "", ""
    for at in range(count):
        if at % SHIFT == 0:
            verb, kind, key = (word(chance) for _ in range(3))
            template = f"{verb} the {kind} of %s, please", f'{{"{key}": {{"{kind}": "%s"}}}}'
        name = f"{word(chance)} {word(chance)} {chance.randrange(50)}"
        yield template[0] % name, template[1] % name


def word(chance: Random) -> str:
    return "".join(chance.choices(SYLLABLES, k=chance.randrange(1, 4)))


def run(
    path: Path, codec: Codec, learn: LearnConfig, answers: int, every: int
) -> Iterator[dict[str, Any]]:
    """Learn them all; what was noted on the way."""
    clock = [1.8e9]
    learner = Learner(
        Bundle.open(path), lambda bundle: bundle.draft(), DraftConfig(), learn, lambda: clock[0]
    )
    learner.start()
    began, slowest = perf_counter(), 0.0
    with progress() as tell:
        for at, (asked, said) in enumerate(made(answers, Random(2)), 1):
            clock[0] += SECONDS
            # no chat template around it: that would take most of the time
            request = Request(str(at), codec.output(asked))
            written = [*codec.output(said).tolist(), codec.end_id]
            before = perf_counter()
            draft = learner.recent.draft
            if draft is not None and at % 50 == 0:  # what is recalled is of use
                draft.open(request).close()
            learner.learn(request, written)
            slowest = max(slowest, perf_counter() - before)
            if at % every == 0:
                yield note(path, learner, at, perf_counter() - began, slowest)
                slowest = 0.0
                tell("learned", at, answers)
    learner.close()
    stats = learner.stats()
    assert stats.unflushed == stats.errors == stats.lost == 0, stats


def note(path: Path, learner: Learner, at: int, seconds: float, most: float) -> dict[str, Any]:
    stats = learner.stats()
    files = [file for file in path.rglob("*") if file.is_file()]
    return {
        "answers": at,
        "seconds": round(seconds, 1),
        "slowest_ms": round(1e3 * most, 1),
        "resident_mib": round(resident() / 2**20, 1),
        "open_files": len(os.listdir("/proc/self/fd")),
        "bundle_files": len(files),
        "bundle_mib": round(sum(file.stat().st_size for file in files) / 2**20, 2),
        "traces": stats.traces,
        "tokens": stats.tokens,
        "unflushed": stats.unflushed,
        "learns": stats.learns,
    }


def resident() -> int:
    """Bytes of this process's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(notes: list[dict[str, Any]]) -> dict[str, Any]:
    """What the last tenth has, by what the second had."""
    tenth = max(1, len(notes) // 10)
    early, late = notes[tenth : 2 * tenth] or notes, notes[-tenth:]
    keys = ("resident_mib", "open_files", "bundle_files", "bundle_mib", "traces", "tokens")
    return {
        key: [float(median(note[key] for note in part)) for part in (early, late)] for key in keys
    } | {"most_tokens": max(note["tokens"] for note in notes)}


if __name__ == "__main__":
    main()
