"""Drafts from what the caller says the answer will be (OpenAI's predicted outputs)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal
from tascel.types import SOURCES, Ids

_SOURCE = SOURCES.index("prediction")
#: No draft is longer.
MOST = 64
#: Tokens that are taken as right before any was checked, of `PRIOR + 1`.
PRIOR = 12.0
#: What was checked earlier counts less and less: half after 35 tokens.
FADE = 0.98
#: A single equal token is taken as the place to go on only this near to where the answer left.
NEAR = 16
#: So many occurrences of a token are looked at, the nearest: a bound on what a step costs.
LOOK = 4096


class Prediction:
    """Follows one answer along its prediction `tokens` i32[p]. Where the answer leaves it, it goes
    on behind the longest recent stretch that both share."""

    def __init__(self, tokens: Ids) -> None:
        self._tokens = tokens
        self._at = 0  # the next token of the prediction, while the answer follows it
        self._lost = False
        self._right, self._checked = PRIOR, PRIOR + 1
        self._recent: list[int] = []

    def propose(self, room: int) -> Proposal:
        """The next tokens of the prediction, at most `room`; nothing while the answer has left."""
        if self._lost:
            return Proposal.nothing()
        ahead = self._tokens[self._at : self._at + min(room, MOST)]
        trust = (self._right / self._checked) ** np.arange(1, len(ahead) + 1)
        return Proposal(
            ahead.astype(np.int32),
            np.arange(-1, len(ahead) - 1, dtype=np.int16),
            trust.astype(np.float32),
            np.full(len(ahead), _SOURCE, np.uint8),
        )

    def accept(self, tokens: Sequence[int]) -> None:
        """Move on by what was written."""
        for token in tokens:
            self._recent = [*self._recent[-7:], token]
            if not self._lost and self._at < len(self._tokens):
                right = int(self._tokens[self._at]) == token
                self._right = FADE * self._right + right
                self._checked = FADE * self._checked + 1
                if right:
                    self._at += 1
                    continue
            self._find(token)

    def _find(self, token: int) -> None:
        """Go on behind the occurrence of `token` that shares most with what was written, and of
        those the next one ahead."""
        ends = np.flatnonzero(self._tokens == token)
        off = np.abs(ends - self._at)
        if len(ends) > LOOK:
            nearest = np.sort(np.argpartition(off, LOOK)[:LOOK])
            ends, off = ends[nearest], off[nearest]
        shared = self._shared(ends) + ((ends >= self._at) & (off < NEAR))
        self._lost = not np.any(shared > 1)  # a single token is too little, unless it is near
        if not self._lost:
            self._at = int(ends[np.lexsort((ends, -off, shared))[-1]]) + 1

    def _shared(self, ends: NDArray[np.intp]) -> NDArray[np.intp]:
        """How many tokens up to and with each of `ends` equal the last ones written."""
        shared, same = np.zeros(len(ends), np.intp), np.ones(len(ends), np.bool_)
        for back, written in enumerate(reversed(self._recent)):
            same &= (ends >= back) & (self._tokens[np.maximum(ends - back, 0)] == written)
            shared += same
        return shared
