"""How far an answer lets the engine run ahead: judged by what its checks took back, never by a
clock."""

from __future__ import annotations

from dataclasses import dataclass

from tascel.draft.base import Proposal
from tascel.types import SOURCES

HEAD = SOURCES.index("head")

#: Tokens that one check covers: at least, the first one of an answer at most, and any at most.
#: After a clean check twice as many, or one more once there was a miss, which halves them. So they
#: settle near the inverse root of the rate of misses (as TCP's window), where the passes lost to
#: misses weigh what the checks do.
LEAST, FIRST_MOST, MOST = 2, 16, 32
#: Steps without running ahead after bad checks in a row, at most: then it costs a pass in 17.
LONGEST_REST = 16


@dataclass(slots=True)
class Reach:
    """`tokens` are covered by the next check, unless it rests for some more steps."""

    tokens: int = LEAST
    rest: int = 0
    _missed: bool = False
    _next_rest: int = 0

    @property
    def now(self) -> int:
        """How many tokens the next check may cover: 1 is plain decoding."""
        return 1 if self.rest else self.tokens

    def learn(self, offered: Proposal, taken: int) -> None:
        """Book a step: what was offered, by whomever, and how much of it was right."""
        if HEAD not in offered.source:
            self.rest = max(0, self.rest - 1)
            if len(offered):  # behind drafts only a little: they may go on soon
                self.tokens = LEAST
        elif taken == len(offered):
            self.tokens = min(self.tokens + 1 if self._missed else 2 * self.tokens, MOST)
            self._next_rest //= 2
        else:
            self._missed = True
            self.tokens = max(LEAST, self.tokens // 2)
            if 2 * taken < len(offered):
                self.rest = self._next_rest
                self._next_rest = min(max(1, 2 * self._next_rest), LONGEST_REST)


@dataclass(slots=True, eq=False)
class Habit:
    """How far answers without drafts came to let the engine run ahead: `first` tokens are covered
    by the first check of the next one."""

    first: int = LEAST

    def learn(self, reach: Reach) -> None:
        """Book an answer at its end: halfway to where it got."""
        self.first = (self.first + min(reach.tokens, FIRST_MOST)) // 2
