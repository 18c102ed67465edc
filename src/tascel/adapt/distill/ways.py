"""Ways to draft for one task, each led along the same held-out answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tascel.adapt.distill.config import Progress, Target
from tascel.adapt.distill.judge import Fixed, Score, fixed, fixed_ngrams, hits, score
from tascel.adapt.distill.lessons import Lesson, Pair
from tascel.adapt.distill.training import Trained, cut, draft
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.draft.base import Draft
from tascel.draft.confidence import Confidence
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import NgramDraft
from tascel.draft.trust import Trust
from tascel.route.extend import ExtendedDraft
from tascel.route.policy import Policy

#: Ways to draft that need no model of their own.
NONE, OWN, POOLED = "none", "n-grams", "n-grams of all tasks"


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A way to draft for one task, and what came of it: with the `draft`-th trained one, if it is
    neural."""

    name: str
    score: Score
    fixed: Fixed | None = None
    draft: int | None = None
    extended: bool = False


class Ngrams:
    """N-grams as the bundle has them, but learned from nothing that is held out."""

    def __init__(self, bundle: Bundle, codec: Codec, learned: Sequence[Lesson]) -> None:
        self._bundle, self._codec = bundle, codec
        self._trust = {task.name: task.learned.trust for task in bundle.tasks}
        known = [pair for lesson in learned for pair in lesson.known]
        self.pooled = self._draft(known, bundle.learned.trust)

    def own(self, lesson: Lesson) -> NgramDraft:
        """Of one task."""
        return self._draft(lesson.known, self._trust[lesson.task or ""])

    def _draft(self, known: Sequence[Pair], trust: Trust) -> NgramDraft:
        reader = self._bundle.reader
        words = [reader.words(pair.prompt) for pair in known]
        about = [reader.about(pair.prompt) for pair in known]
        outputs = [pair.output for pair in known]
        knowledge = Knowledge.of(outputs, words, about, self._codec.vocab_size)
        return NgramDraft(knowledge, trust, reader, self._codec.eos_ids)


class Judge:
    """Leads every way to draft along a task's answers: none, n-grams, then the `trained` ones."""

    def __init__(
        self,
        ngrams: Ngrams,
        trained: Sequence[Trained],
        confidences: Sequence[Confidence],
        target: Target,
        progress: Progress,
    ) -> None:
        self._ngrams, self._trained, self._confidences = ngrams, trained, confidences
        self._target, self._progress = target, progress
        self._done = self._total = 0

    def ways(self, lesson: Lesson) -> list[Way]:
        """What came of each, none first."""
        mine = [at for at, one in enumerate(self._trained) if one.serves(lesson)]
        several = lesson.task is not None
        self._done, self._total = 0, len(lesson.judged) * (1 + several + 2 * len(mine))
        ngrams = {OWN: self._ngrams.pooled}
        if several:
            ngrams = {OWN: self._ngrams.own(lesson), POOLED: self._ngrams.pooled}
        found = [Way(NONE, self._score(None, lesson))]
        found += [
            Way(name, self._score(one, lesson), self._fixed(one, lesson))
            for name, one in ngrams.items()
        ]
        first = [*ngrams.values()][Policy([way.score.tally for way in found[1:]]).choose(None)]
        for at in mine:
            found += self._neural(lesson, at, first)
        return found

    def _neural(self, lesson: Lesson, at: int, first: NgramDraft) -> list[Way]:
        """One trained draft, alone and behind n-grams."""
        trained, size = self._trained[at], self._target.engine.vocab_size
        neural = draft(trained, self._confidences[at], self._target)
        model = cut(self._target, trained.made.layers, trained.folder)
        chains = fixed(hits(model, lesson.judged, size))
        alone, name = self._score(neural, lesson), trained.made.name
        behind = self._score(ExtendedDraft(first, neural), lesson)
        return [Way(name, alone, chains, at), Way(f"{OWN} + {name}", behind, None, at, True)]

    def _fixed(self, ngrams: NgramDraft, lesson: Lesson) -> Fixed:
        return fixed_ngrams(ngrams, lesson.judged, self._target.engine.vocab_size)

    def _score(self, one: Draft | None, lesson: Lesson) -> Score:
        def heard() -> None:
            self._done += one is not None
            self._progress(f"judging {lesson.task or 'drafts'}", self._done, self._total)

        engine = self._target.engine
        return score(one, lesson.judged, self._target.price, engine.vocab_size, engine.trees, heard)
