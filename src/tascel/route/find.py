"""Which tasks are in the traces? As many as help to draft held-out answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tascel.decode.walk import follow
from tascel.draft import trust as trusts
from tascel.draft.features import Features
from tascel.draft.kernels.copying import Words
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price, typical
from tascel.draft.reader import Reader
from tascel.draft.trust import Trust
from tascel.route.classify import Classifier
from tascel.route.cluster import partitions
from tascel.route.policy import Tally
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
class Seen:
    """Traces as drafts see them: `prompts` and `outputs` i32[n] each, the prompts' `words`, what
    prompts and outputs are `about` and `said`."""

    prompts: Sequence[Ids]
    outputs: Sequence[Ids]
    words: Sequence[Words]
    about: Sequence[Features]
    said: Sequence[Features]

    def some(self, at: Sequence[int]) -> Seen:
        """Those with these numbers."""
        return Seen(
            [self.prompts[i] for i in at],
            [self.outputs[i] for i in at],
            [self.words[i] for i in at],
            [self.about[i] for i in at],
            [self.said[i] for i in at],
        )

    def __len__(self) -> int:
        return len(self.outputs)


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
        sample: the numbers of those to try with, drawn at random.
        fold: the fold of each of the sample, i32[len(sample)]: what is alike shares one.
    """

    def __init__(
        self, seen: Seen, sample: Sequence[int], fold: Ids, reader: Reader, eos_ids: frozenset[int],
        vocab_size: int,
    ) -> None:  # fmt: skip
        held = fold == 0
        self._learned = [i for i, out in zip(sample, held, strict=True) if not out][:LEARNED]
        self._fold = fold[~held][:LEARNED]
        self._tried = [i for i, out in zip(sample, held, strict=True) if out][:TRIED]
        self._seen, self._reader, self._eos, self._vocab_size = seen, reader, eos_ids, vocab_size
        self._price: Price = typical()
        some = seen.some(self._learned[:TRUSTED])
        self._trust: Trust = trusts.learn(
            some.outputs, some.prompts, some.words, some.about, [self._fold[:TRUSTED]], vocab_size
        )
        draft = self._draft(self._learned)
        self.pooled = {i: self._tally(draft, i) for i in self._tried}

    def classifier(self, labels: Ids) -> Classifier:
        """Who tells the tasks `labels` apart, by what trials learn from."""
        some = np.array(self._learned, np.int64)
        return Classifier.fit(
            [self._seen.about[i] for i in self._learned], labels[some], self._fold
        )

    def tallies(self, labels: Ids, classifier: Classifier) -> dict[int, Tally]:
        """What each held-out answer costs where prompts are routed to the tasks `labels`."""
        drafts: dict[int, NgramDraft] = {}
        made: dict[int, Tally] = {}
        for i in self._tried:
            guess = classifier.classify(self._seen.about[i])
            if guess.unknown:
                made[i] = self.pooled[i]
                continue
            if guess.task not in drafts:
                drafts[guess.task] = self._draft(
                    [j for j in self._learned if labels[j] == guess.task]
                )
            made[i] = self._tally(drafts[guess.task], i)
        return made

    def _draft(self, learned: Sequence[int]) -> NgramDraft:
        some = self._seen.some(learned)
        knowledge = Knowledge.of(some.outputs, some.words, some.about, self._vocab_size)
        return NgramDraft(knowledge, self._trust, self._reader, self._eos)

    def _tally(self, draft: NgramDraft, i: int) -> Tally:
        draft.forget()  # the order of answers shall not matter
        answer: list[int] = self._seen.outputs[i].tolist()
        session = draft.open(Request("trial", self._seen.prompts[i]))
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
    finer and finer clusters are tried while they help; most tokens a millisecond wins.
    """
    if given is not None:
        return _found(given, trial, trial.classifier(given))
    best: tuple[Ids, Classifier] | None = None
    highest, worse = BETTER * _rate(trial.pooled.values()), 0
    ways = partitions(seen.about, seen.said)
    for done, (count, labels) in enumerate(sorted(ways.items())):
        progress(done, len(ways))
        if count == 1:
            continue
        classifier = trial.classifier(labels)
        rate = _rate(trial.tallies(labels, classifier).values())
        if rate > highest:
            best, highest, worse = (labels, classifier), rate, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    progress(len(ways), len(ways))
    return None if best is None else _found(best[0], trial, best[1])


def _found(labels: Ids, trial: Trial, classifier: Classifier) -> Found:
    made = trial.tallies(labels, classifier)
    pairs = [
        (
            _sum([tally for i, tally in made.items() if labels[i] == task]),
            _sum([tally for i, tally in trial.pooled.items() if labels[i] == task]),
        )
        for task in range(int(labels.max()) + 1)
    ]
    return Found(labels, classifier, pairs)


def _sum(tallies: Sequence[Tally]) -> Tally:
    return Tally(
        sum(tally.tokens for tally in tallies),
        sum((tally.passes for tally in tallies), Tally.empty().passes),
    )


def _rate(tallies: Iterable[Tally]) -> float:
    """Tokens a millisecond, over all answers."""
    return _sum([*tallies]).rate(typical())
