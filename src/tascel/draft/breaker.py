"""Stops a draft that does not pay, whoever made it; lets it try again later.

Judged by counts and the price file, never by a clock, so that decisions are repeatable.
"""

from __future__ import annotations

from collections import deque

from tascel.draft.price import Price

WINDOW = 16  # drafted steps after which a draft must have paid
FIRST_REST = 128  # steps without drafts after the first failure; doubles with each further one
LONGEST_REST = 8192
PROBE = 4  # drafted steps that a draft gets to prove itself after a rest


class Breaker:
    """Adds up, over the last drafted steps, what drafting saved and what it cost."""

    def __init__(self, price: Price) -> None:
        self._price = price
        self._gains: deque[float] = deque(maxlen=WINDOW)
        self._needed = WINDOW
        self._rest = 0
        self._next_rest = FIRST_REST

    def allows(self) -> bool:
        """Whether this step may be drafted. Call once a step: resting is counted in steps."""
        if self._rest > 0:
            self._rest -= 1
            return False
        return True

    def record(self, offered: int, accepted: int, pending: int = 1) -> None:
        """Book one drafted step: `offered` tokens checked beside `pending`, `accepted` right."""
        curve = self._price.curve(pending, offered)
        step = float(self._price.ms[0, 0])
        self._gains.append(accepted * step - float(curve[-1] - curve[0]))
        if len(self._gains) < self._needed:
            return
        if sum(self._gains) < 0:
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, LONGEST_REST)
            self._needed = PROBE
            self._gains.clear()
        elif len(self._gains) == WINDOW:
            self._needed, self._next_rest = WINDOW, FIRST_REST
