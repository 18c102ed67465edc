"""Stops a draft that does not pay, whoever made it; lets it try again later.

Judged by counts and the price file, never by a clock, so that decisions are repeatable.
"""

from __future__ import annotations

from functools import lru_cache

from tascel.draft.price import Price

# In passes of one token:
LOSS = 3.0  # what a draft may have lost since it last broke even
PROBE_LOSS = 0.75  # what it may lose after a rest
PROVEN = 1.0  # what it must have earned after a rest to be trusted as before
#: What of its gains is kept for lean stretches: where width is dear single refusals are dear, too,
#: and a draft that doubles the speed would rest after two of them. With more a draft is let be for
#: longer where a task changes. Chosen on training folds of seven tasks (results/saved.json).
SAVED = 8.0

FIRST_REST = 128  # steps without drafts after the first failure; doubles with each further one
LONGEST_REST = 8192


class Breaker:
    """Adds up what drafting saved and what it cost. Few gains are saved up: a draft that was good
    for long rests nearly as soon as any other; a lean stretch that costs little is let be.

    Args:
        price: what passes cost.
        saved: so much of gains is saved up; more for a draft that gets better as it goes, or where
            refusals are dear.
        longest: no rest has more steps.
    """

    def __init__(self, price: Price, saved: float = SAVED, longest: int = LONGEST_REST) -> None:
        self._price, self._saved, self._longest = price, saved, longest
        self._cost = lru_cache(maxsize=4096)(self._cost_of)  # the same few passes again and again
        self._balance = 0.0  # since the draft last broke even, at most what is saved
        self._earned = 0.0  # since the last rest
        self._allowed = LOSS
        self._rest = 0
        self._next_rest = FIRST_REST

    def allows(self) -> bool:
        """Whether this step may be drafted. Call once a step: resting is counted in steps."""
        if self._rest > 0:
            self._rest -= 1
            return False
        return True

    @property
    def resting(self) -> bool:
        """Whether the next step may not be drafted."""
        return self._rest > 0

    def record(
        self,
        offered: int,
        accepted: int,
        pending: int = 1,
        rows: int = 1,
        drafting: float = 0.0,
    ) -> None:
        """Book one drafted pass of `rows` rows: `offered` tokens checked beside `pending`,
        `accepted` right; `drafting` is what making the draft took, in passes of one token. While it
        rests nothing is booked: what was drafted before has been judged."""
        if self._rest > 0:
            return
        gain = accepted / rows - self._cost(offered, pending, rows) - drafting
        self._balance = min(self._saved, self._balance + gain)
        self._earned += gain
        if self._balance < -self._allowed:
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, self._longest)
            self._allowed = PROBE_LOSS
            self._balance = self._earned = 0.0
        elif self._earned > PROVEN:
            self._allowed, self._next_rest = LOSS, FIRST_REST

    def _cost_of(self, offered: int, pending: int, rows: int) -> float:
        """What checking `offered` more tokens takes, in passes of one token a row."""
        curve = self._price.curve(pending, offered, rows)
        return float(curve[-1] - curve[0]) / self._price.plain(rows)
