"""From traces as ids to what drafts know: of everything, and of each task."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import cached_property
from itertools import chain, count

import numpy as np

from tascel.bundle import Progress, Task
from tascel.codec import Codec
from tascel.draft import trust as trusts
from tascel.draft.knowledge import Knowledge
from tascel.draft.reader import Reader
from tascel.learned import Learned
from tascel.records import Records
from tascel.route.cluster import names
from tascel.route.find import FEWEST, Found, Trial, find
from tascel.route.seen import Seen
from tascel.traces.folds import folds, groups_of, ways_of
from tascel.types import Ids

FOLDS = 5
#: Traces that trust is learned on and tasks are tried with are drawn from so many.
SAMPLE = 30_000
#: So much of a prompt's end tells which others it is like, in tokens.
READ = 1000
#: Trust is learned on at most so many tokens of the sampled traces: more teach little more.
TRUST_TOKENS = 500_000
#: With fewer sampled traces a task trusts as all do.
TRUSTED = 100
#: More labels are no tasks: each has a draft and half a megabyte of its own. Then tasks are found.
MOST_TASKS = 64
#: Prompts of so many tokens in all are read once and kept, some 100 bytes a token; longer ones are
#: read again for each task.
READ_AT_ONCE = 5_000_000

#: Learns how far to trust what each of several samples teaches.
Trusting = Callable[[Sequence[Records]], Sequence[trusts.Trust]]


class Lessons:
    """What all `records` teach, and what those of a task do.

    Tasks are tried with a sample, drawn by `seed`, and trust is learned on `trusted` of it at most,
    of everything and of each task. `seen` is what the records look like, if that is known, and
    `others` learn the trust of many samples at once, if there are any.
    """

    def __init__(
        self,
        codec: Codec,
        reader: Reader,
        records: Records,
        trusted: int,
        progress: Progress,
        seed: int = 0,
        seen: Seen | None = None,
        others: Trusting | None = None,
    ) -> None:
        self._codec, self._reader, self._progress = codec, reader, progress
        self._records, self._trusted, self._others = records, trusted, others
        seen = seen or Seen.of(records.prompts, records.outputs, reader)
        small = len(records.prompts.flat) <= READ_AT_ONCE
        self._seen = seen.read() if small else seen
        # drawn, for a stream is often sorted, and whoever needs few takes the first
        drawn = np.random.default_rng(seed).permutation(len(records))
        self._sample: list[int] = drawn[:SAMPLE].tolist()

    def learn(self) -> Learned:
        """What all traces teach."""
        every = range(len(self._records))
        self._progress("indexing", 0, len(every))
        known = self._know(every)
        self._progress("indexing", len(every), len(every))
        return Learned(known, self._pooled)

    def tasks(self, choice: str) -> Found | None:
        """The tasks in the traces, None if they are one."""
        given = self._labels() if choice == "auto" else None
        if choice == "one" or len(self._sample) < (FEWEST if given is None else 2):
            return None
        sample = self._sample
        alike = groups_of((_said(self._codec, self._seen.prompts[i]), None) for i in sample)
        self._progress("finding tasks", 0, None)
        trial = Trial(
            self._seen, sample, alike, self._reader, self._codec.eos_ids, self._codec.vocab_size
        )
        return find(self._seen, trial, given, lambda n, of: self._progress("finding tasks", n, of))

    def learn_tasks(self, found: Found, quote: bool) -> list[Task]:
        """What each task teaches; without `quote` none is named after its traces' words."""
        said = self._names(found) if quote else None
        several = len(set(self._records.tasks)) > 1
        trusts = self._trusts_of(found)
        made: dict[str, Task] = {}
        for task, tallies in enumerate(found.tallies):
            self._progress("learning tasks", task, len(found.tallies))
            at: list[int] = np.flatnonzero(found.labels == task).tolist()
            labels = {self._records.tasks[i] for i in at}
            (label,) = labels if several and len(labels) == 1 else (None,)
            name = _free(label or (said[task] if said else f"task {task + 1}"), made)
            made[name] = Task(name, Learned(self._know(at), trusts[task]), tallies)
        self._progress("learning tasks", len(made), len(made))
        return [*made.values()]

    def _labels(self) -> Ids | None:
        """The traces' own labels as numbers, None unless all have one and several differ."""
        labels = self._records.tasks
        if None in labels or len(set(labels)) == 1:
            return None
        kinds, numbers = np.unique(np.array(labels), return_inverse=True)
        return numbers.astype(np.int32) if len(kinds) <= MOST_TASKS else None

    def _names(self, found: Found) -> list[str]:
        seen, decode = self._seen, self._codec.decode
        return names(
            found.labels,
            lambda i: f"{decode(seen.prompts[i].tolist())}\n{decode(seen.outputs[i].tolist())}",
        )

    def _know(self, at: Sequence[int]) -> Knowledge:
        some = self._seen.some(at)
        return Knowledge.of(some.outputs, some.words, some.about, self._codec.vocab_size)

    @cached_property
    def _pooled(self) -> trusts.Trust:
        """How far to trust what all teach."""
        return self._trust(self._bounded(self._sample), "trusting")

    def _trusts_of(self, found: Found) -> list[trusts.Trust]:
        """How far to trust what each task teaches; as all do where a task has few traces."""
        own = [
            self._bounded([i for i in self._sample if found.labels[i] == task])
            for task in range(len(found.tallies))
        ]
        enough = [at for at in own if len(at) >= TRUSTED]
        if self._others is not None and enough:
            learned = iter(self._others([self._records.some(at) for at in enough]))
        else:
            learned = (self._trust(at, "trusting tasks") for at in enough)
        return [next(learned) if len(at) >= TRUSTED else self._pooled for at in own]

    def _bounded(self, at: Sequence[int]) -> Sequence[int]:
        """As many of a sample as trust is learned on."""
        at = at[: self._trusted]
        lengths = np.cumsum([len(self._seen.outputs[i]) for i in at])
        return at[: int(np.searchsorted(lengths, TRUST_TOKENS)) + 1]

    def _trust(self, at: Sequence[int], stage: str) -> trusts.Trust:
        some = self._seen.some(at).read()
        return trust_of(
            self._records.some(at), some, self._codec, lambda n, of: self._progress(stage, n, of)
        )


def trust_of(
    records: Records, seen: Seen, codec: Codec, heard: Callable[[int, int], None]
) -> trusts.Trust:
    """How far to trust what records teach that look as `seen`, judged on those held out."""
    said = [_said(codec, prompt) for prompt in records.prompts]
    ways = ways_of([*zip(said, records.groups, strict=True)])
    return trusts.learn(
        seen.outputs, seen.prompts, seen.words, seen.about,
        [folds(way, FOLDS) for way in ways], codec.vocab_size,
        lambda done: heard(done, len(ways) * len(records)),
    )  # fmt: skip


def _said(codec: Codec, prompt: Ids) -> str:
    """What a prompt says, from its end."""
    return codec.decode(prompt[-READ:].tolist())


def _free(name: str, taken: Container[str]) -> str:
    """The name, or with a number if another has it."""
    names = chain([name], (f"{name} ({i})" for i in count(2)))
    return next(free for free in names if free not in taken)
