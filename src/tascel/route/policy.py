"""Which draft serves a task best, and whether any does: by counts and the price, never a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tascel.draft.breaker import Breaker
from tascel.draft.price import Price

WIDEST = 64  # passes that offer more count as this wide
#: What held-out answers said weighs as much as so many passes, and fades as real ones come.
PRIOR_PASSES = 200
FADE = 1 - 1 / PRIOR_PASSES


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What a draft made of answers: `tokens` written, in `passes` f64[WIDEST + 1] by how many
    tokens they offered."""

    tokens: float
    passes: NDArray[np.float64]

    @staticmethod
    def empty() -> Tally:
        """Of nothing yet."""
        return Tally(0.0, np.zeros(WIDEST + 1))

    def and_pass(self, offered: int, written: int, weight: float = 1.0) -> Tally:
        """With one more pass; `weight` is what all before count for from now on."""
        passes = weight * self.passes
        passes[min(offered, WIDEST)] += 1
        return Tally(weight * self.tokens + written, passes)

    def scaled(self, passes: float) -> Tally:
        """The same shares in so many passes."""
        factor = passes / max(float(self.passes.sum()), 1e-9)
        return Tally(factor * self.tokens, factor * self.passes)

    def per_pass(self) -> float:
        """Tokens a pass."""
        return self.tokens / max(float(self.passes.sum()), 1e-9)

    def rate(self, price: Price) -> float:
        """Tokens a millisecond at `price`."""
        return self.tokens / max(float(self.passes @ price.curve(1, WIDEST)), 1e-9)


class Policy:
    """Chooses among the drafts of one task, for each request anew; rests them all where none pays.

    `tallies`: what each made of held-out answers.
    """

    def __init__(self, tallies: Sequence[Tally]) -> None:
        self._prior = [tally.scaled(PRIOR_PASSES) for tally in tallies]
        self._breaker: Breaker | None = None
        self.forget()

    def choose(self, price: Price | None) -> int:
        """The draft with most tokens a millisecond, or a pass if unpriced; the first of equals."""
        rates = [t.per_pass() if price is None else t.rate(price) for t in self._tallies]
        return int(np.argmax(rates))

    def allows(self, price: Price) -> bool:
        """Whether this step may be drafted."""
        if self._breaker is None:
            self._breaker = Breaker(price)
        return self._breaker.allows()

    def record(self, draft: int, offered: int, accepted: int) -> None:
        """Book one pass of one row."""
        self._tallies[draft] = self._tallies[draft].and_pass(offered, accepted + 1, FADE)
        if self._breaker is not None and offered:
            self._breaker.record(offered, accepted)

    def forget(self) -> None:
        """Back to what held-out answers said."""
        self._tallies = [*self._prior]
        self._breaker = None
