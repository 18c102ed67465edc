"""A chain of guesses that costs a pass of a small model each: grown while the next one pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal, Stem
from tascel.draft.confidence import Confidence
from tascel.draft.price import Price, flattest
from tascel.types import SOURCES

_SOURCE = SOURCES.index("neural")


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What tokens must earn. `cost` f64[N + 1]: milliseconds of the verify pass with 0…N drafted
    tokens; `slope` f64[N + 1]: its flattest slope from each number to any larger one; `sure` tokens
    come of the pass anyway; `step`: milliseconds of one more pass of the draft, one row's share.
    """

    cost: NDArray[np.float64]
    slope: NDArray[np.float64]
    sure: float
    step: float

    @staticmethod
    def of(price: Price, pending: int, rows: int, most: int, step: float) -> Terms:
        """For a verify pass of `rows` rows with `pending` tokens and at most `most` drafted."""
        cost = price.curve(pending, most, rows)
        return Terms(cost, flattest(cost), float(rows), step)

    def pay(self, trust: float, width: int, expected: float, steps: int, further: float) -> bool:
        """Whether a token that is right with `trust` brings more per millisecond than the pass
        without it, in which `expected` of `width` drafted tokens are right and for which the draft
        took `steps`. It costs its place and `further` milliseconds.
        """
        width = min(width, len(self.cost) - 1)
        spent = self.cost[width] + steps * self.step
        return trust * spent > (self.sure + expected) * (self.slope[width] + further)


class Chain:
    """A chain under way behind `stem`, at most `most` tokens long."""

    def __init__(self, stem: Stem, most: int, terms: Terms, confidence: Confidence) -> None:
        self.stem = stem
        self.tokens: list[int] = []
        self._trust: list[float] = []
        self._guesses: list[tuple[int, float]] = []  # with one that did not pay, perhaps
        self._most, self._terms, self._confidence = most, terms, confidence

    def wants(self) -> bool:
        """Whether one more guess will likely pay for its pass."""
        if len(self.tokens) >= self._most:
            return False
        reached = self._last if self.tokens else self.stem.open
        return self._pays(reached * self._confidence.rate(len(self.tokens)), self._terms.step)

    def could_pay(self) -> bool:
        """Whether a first guess would pay for its pass if it were sure to be right."""
        return self._pays(self.stem.open, self._terms.step)

    def push(self, token: int, probability: float) -> bool:
        """Put a guess at the end, if it is worth its place in the verify pass."""
        depth = len(self._guesses)
        self._guesses.append((token, probability))
        trust = self._last * self._confidence.trust(depth, probability)
        if not self._pays(trust, 0.0):
            return False
        self.tokens.append(token)
        self._trust.append(trust)
        return True

    def proposal(self) -> Proposal:
        """The chain, as it hangs below the end of its stem."""
        width = len(self.tokens)
        return Proposal(
            np.array(self.tokens, np.int32),
            np.arange(-1, width - 1, dtype=np.int16),
            np.array(self._trust, np.float32),
            np.full(width, _SOURCE, np.uint8),
        )

    def learn(self, written: Sequence[int]) -> None:
        """Count which guesses were right, as far as what is `written` behind the text tells."""
        begin = len(self.stem.tokens)
        if tuple(written[:begin]) != self.stem.tokens:
            return
        for depth, (token, probability) in enumerate(self._guesses):
            if begin + depth >= len(written):
                return
            right = written[begin + depth] == token
            self._confidence.learn(depth, probability, right)
            if not right:
                return

    @property
    def _last(self) -> float:
        return self._trust[-1] if self._trust else self.stem.trust

    def _pays(self, trust: float, further: float) -> bool:
        width = self.stem.width + len(self.tokens)
        expected = self.stem.expected + sum(self._trust)
        return self._terms.pay(trust, width, expected, len(self._guesses), further)
