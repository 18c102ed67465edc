"""From records to a bundle: the one way there, whoever gathered them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tascel import filling
from tascel.building.config import Source
from tascel.bundle import ALL, Progress
from tascel.draft.reader import Reader
from tascel.lessons import Lessons, Trusting
from tascel.records import Records
from tascel.route.seen import Seen
from tascel.store.manifest import Manifest, TaskEntry, public_command
from tascel.summary import summarise
from tascel.types import Ids


def in_time(records: Records) -> Records:
    """Oldest first; of one time in the order they are in."""
    return records.some(np.argsort(records.times, kind="stable"))


def teach(
    source: Source,
    progress: Progress,
    seen: Seen | None = None,
    others: Trusting | None = None,
) -> Callable[[Path], Manifest]:
    """Learn what the source has to teach; what comes back writes it into an empty folder.

    Args:
        seen: what its records look like, if that is known.
        others: who learns how far tasks are trusted; default: this process, one by one.
    """
    records, codec, settings = source.records, source.codec, source.settings
    reader = Reader(codec.tokenizer)
    lessons = Lessons(
        codec, reader, records, settings.trust_traces, progress, settings.seed, seen, others
    )
    learned = lessons.learn()
    found = lessons.tasks(settings.tasks)
    tasks = lessons.learn_tasks(found, settings.text) if found else []
    entries = tuple(
        TaskEntry(
            task.name, len(task.learned.knowledge.places), *(t.per_pass() for t in task.tallies)
        )
        for task in tasks
    )
    counts = {**source.counts, **_counts(records)}

    def fill(folder: Path) -> Manifest:
        quotable: Sequence[Ids] = _distinct(records) if settings.text else ()
        summary = summarise(codec, quotable, counts, source.model, entries)
        classifier = found.classifier if found else None
        filling.fill(folder, codec, learned, summary, records, tasks, classifier)
        return Manifest(
            model=public_command([source.model])[0],
            weights=source.weights,
            tokenizer=codec.fingerprint,
            vocab_size=codec.vocab_size,
            eos_ids=tuple(sorted(codec.eos_ids)),
            counts=counts,
            command=public_command(source.command),
            segments=(ALL, *(f"task-{at:03}" for at in range(len(tasks)))),
            tasks=entries,
            settings=settings,
        )

    return fill


def _counts(records: Records) -> dict[str, int]:
    return {
        "outputs": len(records),
        "distinct_outputs": len({output.tobytes() for output in records.outputs}),
        "own_outputs": int(records.own.sum()),
        "tokens": len(records.outputs.flat),
        "longest": int(records.outputs.lengths.max()),
    }


def _distinct(records: Records) -> Sequence[Ids]:
    """The outputs of distinct traces."""
    _, first = np.unique(records.keys(), return_index=True)
    return records.outputs.some(np.sort(first))
