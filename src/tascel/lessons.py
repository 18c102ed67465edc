"""From traces as ids to what drafts know: of everything, and of each task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tascel.bundle import Task
from tascel.codec import Codec
from tascel.draft import trust as trusts
from tascel.draft.knowledge import Knowledge
from tascel.draft.reader import Reader
from tascel.learned import Learned
from tascel.route.cluster import names
from tascel.route.find import FEWEST, Found, Seen, Trial, find
from tascel.traces.folds import folds, held_out_ways
from tascel.types import Ids, Trace

FOLDS = 5
#: Trust is learned on at most so many tokens of the sampled traces: more teach little more.
TRUST_TOKENS = 500_000
#: With fewer sampled traces a task trusts as all do.
TRUSTED = 100

#: Hears how far a long job is: its stage, what is done and, where known, of how much.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A trace as ids: the `serial`-th of the stream."""

    serial: int
    prompt: Ids
    output: Ids
    task: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """A trace that trust is learned on or that the model may answer itself."""

    trace: Trace
    kept: Kept


class Lessons:
    """What all traces that were `kept` teach, with `outputs` in place of their own, and what those
    of a task do. `sample` are those that are known whole."""

    def __init__(
        self,
        codec: Codec,
        reader: Reader,
        kept: Sequence[Kept],
        outputs: Sequence[Ids],
        sample: Sequence[Sampled],
        progress: Progress,
    ) -> None:
        self._codec, self._reader, self._progress = codec, reader, progress
        self._kept = kept
        prompts = [trace.prompt for trace in kept]
        self._seen = Seen(
            prompts, outputs, reader.all_words(prompts),
            [reader.about(prompt) for prompt in prompts], [reader.about(o) for o in outputs],
        )  # fmt: skip
        places = {trace.serial: at for at, trace in enumerate(kept)}
        self._sample = {places[s.kept.serial]: s for s in sample if s.kept.serial in places}
        self._pooled: trusts.Trust | None = None

    def learn(self, stage: str, at: Sequence[int]) -> Learned:
        """What the traces with these numbers teach."""
        self._progress(f"indexing {stage}", 0, len(at))
        some = self._seen.some(at)
        known = Knowledge.of(some.outputs, some.words, some.about, self._codec.vocab_size)
        self._progress(f"indexing {stage}", len(at), len(at))
        inside = set(at)
        return Learned(known, self._trust(stage, [i for i in self._sample if i in inside]))

    def tasks(self, choice: str) -> Found | None:
        """The tasks in the traces, None if they are one."""
        if choice == "one" or len(self._kept) < FEWEST:
            return None
        labels = [trace.task for trace in self._kept]
        given: Ids | None = None
        if choice == "auto" and None not in labels:
            kinds, numbers = np.unique(np.array(labels), return_inverse=True)
            if len(kinds) == 1:
                return None
            given = numbers.astype(np.int32)
        sample = [*self._sample]
        alike = held_out_ways([self._sample[i].trace for i in sample])[-1]
        self._progress("finding tasks", 0, None)
        trial = Trial(
            self._seen, sample, folds(alike, FOLDS), self._reader, self._codec.eos_ids,
            self._codec.vocab_size,
        )  # fmt: skip
        return find(self._seen, trial, given, lambda n, of: self._progress("finding tasks", n, of))

    def learn_tasks(self, found: Found, quote: bool) -> list[Task]:
        """What each task teaches; without `quote` none is named after its traces' words."""
        labelled = [self._kept[i].task for i in range(len(self._kept))]
        made: list[Task] = []
        called = self._names(found) if quote else []
        for task, tallies in enumerate(found.tallies):
            at: list[int] = np.flatnonzero(found.labels == task).tolist()
            kinds = {labelled[i] for i in at}
            (label,) = kinds if len(kinds) == 1 else (None,)
            name = label or (called[task] if quote else f"task {task + 1}")
            made.append(Task(name, self.learn(f"task {task + 1}", at), tallies))
        return made

    def _names(self, found: Found) -> list[str]:
        seen, decode = self._seen, self._codec.decode
        return names(
            found.labels,
            lambda i: f"{decode(seen.prompts[i].tolist())}\n{decode(seen.outputs[i].tolist())}",
        )

    def _trust(self, stage: str, at: Sequence[int]) -> trusts.Trust:
        if self._pooled is not None and len(at) < TRUSTED:
            return self._pooled
        lengths = np.cumsum([len(self._seen.outputs[i]) for i in at])
        at = at[: int(np.searchsorted(lengths, TRUST_TOKENS)) + 1]
        some = self._seen.some(at)
        ways = held_out_ways([self._sample[i].trace for i in at])
        trust = trusts.learn(
            some.outputs, some.prompts, some.words, some.about,
            [folds(way, FOLDS) for way in ways], self._codec.vocab_size,
            lambda done: self._progress(f"trusting {stage}", done, len(ways) * len(at)),
        )  # fmt: skip
        self._pooled = trust if self._pooled is None else self._pooled
        return trust
