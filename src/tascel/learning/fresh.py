"""What was learned too lately to be in an index: found by its prompt alone, and at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.draft.features import Features
from tascel.draft.kernels.matching import SEPARATOR
from tascel.draft.kernels.recalling import FULL, Recalled
from tascel.draft.knowledge import NEAREST, RECALLED, Knowledge, nothing_recalled
from tascel.draft.neighbours import Neighbours
from tascel.learning.exchange import Exchange
from tascel.types import Ids

#: So many are indexed by whoever asks; more wait for the background.
AT_ONCE = 64

_Part = tuple[int, int, Neighbours | None]


class _One(NamedTuple):
    exchange: Exchange
    about: Features
    template: Ids


@dataclass(slots=True, eq=False)
class Fresh:
    """Exchanges that came since something was learned, with what their prompts are about and their
    answers' templates, and two indices of them: one made in the background, of the first ones, and
    one of those behind, made anew when somebody asks. Each knows where it begins and ends."""

    ones: list[_One] = field(default_factory=list[_One])
    _old: _Part = (0, 0, None)
    _new: _Part = (0, 0, None)

    def add(self, exchange: Exchange, about: Features, template: Ids) -> None:
        """One more."""
        self.ones.append(_One(exchange, about, template))

    def index(self) -> None:
        """Index those that came last, or all of them, so that whoever asks next need not."""
        end = len(self)
        if end - self._old[1] > AT_ONCE // 2:
            self._old = self._part(0, end)
        self._newest()

    def find(self, about: Features) -> list[tuple[float, int]]:
        """Those most like a prompt: how much, and their numbers."""
        old = self._old
        return _find(old, about) + _find(self._newest(), about)

    def __len__(self) -> int:
        return len(self.ones)

    def _newest(self) -> _Part:
        """What is not in the first index, as far as it can be done at once."""
        new, end = self._new, len(self)
        start = max(self._old[1], end - AT_ONCE)
        if new[:2] != (start, end):
            new = self._new = self._part(start, end)
        return new

    def _part(self, start: int, end: int) -> _Part:
        about = [one.about for one in self.ones[start:end]]
        return start, end, Neighbours.of(about) if about else None


def _find(part: _Part, about: Features) -> list[tuple[float, int]]:
    start, _, neighbours = part
    if neighbours is None:
        return []
    traces, similarity = neighbours.find(about, NEAREST)
    pairs = zip(similarity.tolist(), traces.tolist(), strict=True)
    return [(like, start + at) for like, at in pairs]


@dataclass(frozen=True, eq=False)
class Growing(Knowledge):
    """What `learned` teaches, whose traces these are, and recalls what is `fresh` beside them.
    `used` hears what was recalled, and how like it was."""

    learned: Sequence[Exchange]
    fresh: Fresh
    used: Callable[[Exchange, float], None]

    @staticmethod
    def from_known(
        known: Knowledge, learned: Sequence[Exchange], used: Callable[[Exchange, float], None]
    ) -> Growing:
        """Nothing is fresh yet."""
        return Growing(
            known.corpus, known.templates, known.places, known.frozen, known.pointer,
            known.neighbours, learned, Fresh(), used,
        )  # fmt: skip

    def recall(self, about: Features, without: NDArray[np.bool_] | None = None) -> Recalled:
        """The templates of what the most similar prompts got, the learned and the fresh."""
        traces, similarity = self.neighbours.find(about, NEAREST, without)
        found: list[tuple[float, Exchange, Ids]] = []
        for like, at in zip(map(float, similarity), map(int, traces), strict=True):
            found.append((like, self.learned[at], self._template(at)))
        for like, at in self.fresh.find(about):
            one = self.fresh.ones[at]
            found.append((like, one.exchange, one.template))
        found.sort(key=lambda one: -one[0])
        texts: list[Ids] = []
        weights: list[Ids] = []
        for like, exchange, template in found[:NEAREST]:
            self.used(exchange, like)
            text = np.concatenate([_LEAD, template])
            texts.append(text)
            weights.append(np.full(len(text), max(1, round(FULL * like)), np.int32))
        if not texts:
            return nothing_recalled()
        return Recalled(np.concatenate(texts)[:RECALLED], np.concatenate(weights)[:RECALLED])

    def _template(self, at: int) -> Ids:
        text, places = self.templates.text, self.places
        last = int(places[at + 1]) if at + 1 < len(places) else len(text)
        return text[int(places[at]) + 1 : last]


_LEAD = np.array([SEPARATOR], np.int32)
