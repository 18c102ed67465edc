"""Which draft serves a task best, and whether any does: by counts and the price, never a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tascel.draft.breaker import SAVED, Breaker
from tascel.draft.price import Price

WIDEST = 64  # passes that offer more count as this wide
#: A task's own draft is left for another that was better by this factor, in so many passes. The
#: trial that says so learned from few traces, which is harder on a task's own draft.
BETTER, PASSES = 1.1, 50


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What a draft made of answers: `tokens` written, in `passes` f64[WIDEST + 1] by how many
    tokens they offered. `drafting` is what the draft's own passes took, where it is a model, in
    passes of one token of the model that it drafts for: this ratio holds on other machines, too.
    """

    tokens: float
    passes: NDArray[np.float64]
    drafting: float = 0.0

    @staticmethod
    def empty() -> Tally:
        """Of nothing yet."""
        return Tally(0.0, np.zeros(WIDEST + 1))

    def and_pass(self, offered: int, written: int, drafting: float = 0.0) -> Tally:
        """With one more pass."""
        passes = self.passes.copy()
        passes[min(offered, WIDEST)] += 1
        return Tally(self.tokens + written, passes, self.drafting + drafting)

    def per_pass(self) -> float:
        """Tokens a pass."""
        return self.tokens / max(float(self.passes.sum()), 1e-9)

    def rate(self, price: Price) -> float:
        """Tokens a millisecond at `price`."""
        drafting = self.drafting * price.plain()
        return self.tokens / max(float(self.passes @ price.curve(1, WIDEST)) + drafting, 1e-9)


class Policy:
    """Chooses among the drafts of one task, and rests them where none pays.

    `tallies`: what each made of the same held-out answers, the task's own n-grams first. So much of
    what drafting earns is `saved` up, as `Breaker` takes it.
    """

    def __init__(self, tallies: Sequence[Tally], saved: float = SAVED) -> None:
        self._tallies, self._saved = tallies, saved
        self._breaker: Breaker | None = None

    def choose(self, price: Price | None) -> int:
        """The draft with most tokens a millisecond, or where unpriced a pass, a neural draft's own
        passes included; in doubt the first."""
        if any(float(tally.passes.sum()) < PASSES for tally in self._tallies):
            return 0
        rates = [tally.rate(price or Price.free()) for tally in self._tallies]
        best = int(np.argmax(rates))
        return best if rates[best] > BETTER * rates[0] else 0

    def allows(self, price: Price) -> bool:
        """Whether this step may be drafted."""
        if self._breaker is None:
            self._breaker = Breaker(price, self._saved)
        return self._breaker.allows()

    def record(self, offered: int, accepted: int, drafting: float = 0.0) -> None:
        """Book one pass of one row, whose drafting took so many passes of one token."""
        if self._breaker is not None and (offered or drafting):
            self._breaker.record(offered, accepted, drafting=drafting)

    def forget(self) -> None:
        """As if nothing had been drafted yet."""
        self._breaker = None
