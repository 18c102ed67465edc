"""Which tasks are in the traces? As many as help to draft held-out answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tascel.decode.walk import follow
from tascel.draft import trust as trusts
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price, typical
from tascel.draft.reader import Reader
from tascel.route.classify import Classifier
from tascel.route.cluster import partitions
from tascel.route.policy import Tally
from tascel.route.seen import Seen
from tascel.traces.folds import folds
from tascel.types import Ids, Request

#: With fewer traces there is nothing to divide.
FEWEST = 200
#: Traces that trials learn from, and answers that they draft.
LEARNED, TRIED = 1500, 250
#: Trust is learned once, on so many of them.
TRUSTED = 500
#: Several tasks must be better than one by this factor.
BETTER = 1.01
#: Finer ones are no longer tried when so many in a row were no better than the best.
PATIENCE = 3
FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Tasks: the `labels` i32[n] of all traces; who tells them apart; for each task what its own
    draft and the pooled one made of held-out answers."""

    labels: Ids
    classifier: Classifier
    tallies: Sequence[tuple[Tally, Tally]]


class Trial:
    """Drafts held-out answers with what others teach, in one task or in several.

    Args:
        seen: all traces.
        sample: the numbers of those to try with, two or more, drawn at random.
        groups: i32[len(sample)]: what is alike shares one, and is held out together.
    """

    def __init__(
        self, seen: Seen, sample: Sequence[int], groups: Ids, reader: Reader,
        eos_ids: frozenset[int], vocab_size: int,
    ) -> None:  # fmt: skip
        self._reader, self._eos, self._vocab_size = reader, eos_ids, vocab_size
        self._price: Price = typical()
        self._sample, self._groups = np.array(sample), groups
        self._all = seen.some(sample)
        held = folds(groups, FOLDS) == 0
        self._rest = rest = np.flatnonzero(~held)[:LEARNED]
        self._learned_at, self._tried_at = self._sample[rest], self._sample[held][:TRIED]
        self._learned = seen.some(self._learned_at.tolist()).read()
        self._tried = seen.some(self._tried_at.tolist()).read()
        some = self._learned.some(range(min(len(rest), TRUSTED)))
        self._trust = trusts.learn(
            some.outputs, some.prompts, some.words, some.about,
            [folds(groups[rest[:TRUSTED]], FOLDS)], vocab_size,
        )  # fmt: skip
        draft = self._draft(range(len(rest)))
        self.pooled = [self._tally(draft, i) for i in range(len(self._tried))]

    def classifier(self, labels: Ids) -> Classifier:
        """Who tells the tasks `labels` i32[n] of all traces apart, by the whole sample."""
        tasks = int(labels.max()) + 1
        label = labels[self._sample]
        return Classifier.fit(self._all.about, label, _apart(self._groups, label), tasks=tasks)

    def tallies(self, labels: Ids) -> list[Tally]:
        """What each held-out answer costs where prompts are routed to the tasks `labels`."""
        label = labels[self._learned_at]
        apart = _apart(self._groups[self._rest], label)
        classifier = Classifier.fit(self._learned.about, label, apart)
        drafts: dict[int, NgramDraft] = {}
        made = [*self.pooled]
        for i, about in enumerate(self._tried.about):
            guess = classifier.classify(about)
            if not guess.sure:
                continue
            if guess.task not in drafts:
                drafts[guess.task] = self._draft(np.flatnonzero(label == guess.task).tolist())
            made[i] = self._tally(drafts[guess.task], i)
        return made

    def by_task(self, labels: Ids, made: Sequence[Tally]) -> list[tuple[Tally, Tally]]:
        """Of each task's answers, what `made` says, and what the pooled draft made of them."""
        label = labels[self._tried_at]

        def of(task: int, tallies: Sequence[Tally]) -> Tally:
            return _sum(t for t, own in zip(tallies, label, strict=True) if own == task)

        return [(of(task, made), of(task, self.pooled)) for task in range(int(labels.max()) + 1)]

    def _draft(self, learned: Sequence[int]) -> NgramDraft:
        some = self._learned.some(learned)
        knowledge = Knowledge.of(some.outputs, some.words, some.about, self._vocab_size)
        return NgramDraft(knowledge, self._trust, self._reader, self._eos)

    def _tally(self, draft: NgramDraft, i: int) -> Tally:
        draft.forget()  # the order of answers shall not matter
        answer: list[int] = self._tried.outputs[i].tolist()
        session = draft.open(Request("trial", self._tried.prompts[i]))
        tally, at = Tally.empty(), 0
        while at < len(answer):
            offered = session.propose(len(answer), self._price)
            step = follow(offered, answer[at:])
            session.accept(
                [token for token, _ in step], offered, sum(node >= 0 for _, node in step)
            )
            tally = tally.and_pass(len(offered), len(step))
            at += len(step)
        session.close()
        return tally


def find(
    seen: Seen, trial: Trial, given: Ids | None, progress: Callable[[int, int | None], None]
) -> Found | None:
    """The tasks of all traces, None if they are best served as one.

    `given` are labels that the traces carry, i32[n] from 0; then those are the tasks. Otherwise
    finer and finer clusters are tried while they help; the fastest answers win.
    """
    best = _best(seen, trial, progress) if given is None else (given, trial.tallies(given))
    if best is None:
        return None
    labels, made = best
    return Found(labels, trial.classifier(labels), trial.by_task(labels, made))


def _best(
    seen: Seen, trial: Trial, progress: Callable[[int, int | None], None]
) -> tuple[Ids, list[Tally]] | None:
    """The labels of the best clusters and what was made of held-out answers, None if one is."""
    best, highest, worse = None, BETTER, 0
    ways = partitions(seen.about, seen.said)
    for done, (count, labels) in enumerate(sorted(ways.items())):
        progress(done, len(ways))
        if count == 1:
            continue
        made = trial.tallies(labels)
        if (gain := _gain(made, trial.pooled)) > highest:
            best, highest, worse = (labels, made), gain, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    progress(len(ways), len(ways))
    return best


def _apart(groups: Ids, label: Ids) -> Ids:
    """The folds of traces, i32[n], so that no task is held out whole: a group of more than half of
    a task's traces is taken for no group."""
    apart = groups.astype(np.int64)
    for task in np.unique(label).tolist():
        own = np.flatnonzero(label == task)
        huge = own[np.bincount(groups[own])[groups[own]] > len(own) / 2]
        apart[huge] = int(groups.max()) + 1 + huge
    return folds(np.unique(apart, return_inverse=True)[1].astype(np.int32), FOLDS)


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally.empty()
    for tally in tallies:
        total = Tally(total.tokens + tally.tokens, total.passes + tally.passes)
    return total


def _gain(made: Sequence[Tally], pooled: Sequence[Tally]) -> float:
    """How many times as fast answers are as with one draft for all: the geometric mean, so that a
    few long answers do not decide."""
    price = typical()
    ratios = [own.rate(price) / one.rate(price) for own, one in zip(made, pooled, strict=True)]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else 1.0
