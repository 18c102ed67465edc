"""What a task's past answers teach a draft, but for how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.draft.corpus import Corpus
from tascel.draft.features import Features
from tascel.draft.kernels.copying import POINTS, Words
from tascel.draft.kernels.placing import Sources
from tascel.draft.kernels.recalling import Recalled, recall
from tascel.draft.neighbours import Neighbours
from tascel.draft.slots import Frozen, Pointer, freeze, learn_pointer, templates
from tascel.types import Ids

#: So many similar prompts are asked what they got, and so many tokens of their answers looked at.
NEAREST = 16
RECALLED = 2048


@dataclass(frozen=True, eq=False)
class Knowledge:
    """`corpus` of the outputs; `templates` of their templates, in the same order, the i-th at
    `places` i32[n] of its text; what is `frozen` in them; the `pointer` to where copies begin; the
    traces as `neighbours`."""

    corpus: Corpus
    templates: Corpus
    places: Ids
    frozen: Frozen
    pointer: Pointer
    neighbours: Neighbours

    @staticmethod
    def of(
        outputs: Sequence[Ids], words: Sequence[Words], about: Sequence[Features], vocab_size: int
    ) -> Knowledge:
        """Learn from `outputs` (ids with their closing id), their prompts' words and features."""
        frozen = freeze(words, outputs, vocab_size)
        forms = templates(words, outputs, frozen)
        sizes = np.array([1 + len(form) for form in forms], np.int64)
        return Knowledge(
            Corpus.of(outputs),
            Corpus.of(forms),
            (np.cumsum(sizes) - sizes).astype(np.int32),
            frozen,
            learn_pointer(words, outputs, frozen),
            Neighbours.of(about),
        )

    @staticmethod
    def only(corpus: Corpus, vocab_size: int) -> Knowledge:
        """Of outputs whose prompts are unknown: nothing is copied, and nobody is a neighbour."""
        return Knowledge(
            corpus,
            Corpus.of([]),
            np.zeros(0, np.int32),
            np.ones(vocab_size, np.uint8),
            np.zeros(POINTS, np.float32),
            Neighbours.of([]),
        )

    @cached_property
    def sources(self) -> Sources:
        """As the kernels take it."""
        views = _read_only(self.frozen), _read_only(self.pointer)
        return Sources(self.corpus.index, self.templates.index, len(self.frozen), *views)

    def recall(self, about: Features, without: NDArray[np.bool_] | None = None) -> Recalled:
        """The templates of what the most similar prompts got."""
        traces, similarity = self.neighbours.find(about, NEAREST, without)
        tokens, weights = np.empty(RECALLED, np.int32), np.empty(RECALLED, np.int32)
        text, places = self.templates.index.text, _read_only(self.places)
        n = recall(text, places, traces, similarity, tokens, weights)
        return Recalled(tokens[:n], weights[:n])


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Like a mapped file, so that kernels compile once."""
    view = array.view()
    view.flags.writeable = False
    return view


def nothing_recalled() -> Recalled:
    """Of a prompt that is like none before."""
    return Recalled(np.zeros(0, np.int32), np.zeros(0, np.int32))
