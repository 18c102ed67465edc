"""Any of our drafts as what llama-cpp-python asks while it generates. Knows no llama.cpp: only that
it calls with all ids so far and verifies what it is given, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.decode.walk import trim
from tascel.draft.base import Attentive, Draft
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.plugins.rows import Row
from tascel.types import Ids, Request

#: Tokens of one draft at most; mostly the price stops it before.
MOST = 64
_NOTHING = np.zeros(0, np.intc)


class LlamaDraft:
    """A `LlamaDraftModel` of llama-cpp-python: `Llama(…, draft_model=LlamaDraft(…))`, one for each
    `Llama`.

    That is called with everything known, never with what became of a draft: both are told from the
    ids. `open_llama` makes one, and tells it when answers begin and end, too.

    Args:
        draft: proposes, one of a bundle with `DraftConfig(trees=False)`.
        price: of the engine's passes.
        vocab_size: ids that the model knows; no other is offered.
        longest: tokens that prompt and answer may have.
        most: tokens offered at a time.

    Attributes:
        offered: how many tokens the next pass checks.
        calls: how often it was asked.
        checked, accepted: tokens that were offered, and those of them that were right.
        owner: whose answer it is, where somebody says so; who is not, does not end it.
    """

    def __init__(
        self, draft: Draft, price: Price, vocab_size: int, longest: int, most: int = MOST
    ) -> None:
        self._draft, self._price, self._breaker = draft, price, Breaker(price)
        self._vocab_size, self._longest, self._most = vocab_size, longest, most
        self._row: Row | None = None
        self.owner: object = None
        self.offered = self.calls = self.checked = self.accepted = 0

    def __call__(self, input_ids: NDArray[np.intc], /, **kwargs: Any) -> NDArray[np.intc]:
        """A chain of ids i32[m], maybe empty, to follow `input_ids` i32[n]: prompt and answer so
        far, with at least one token of it."""
        self.calls += 1
        row = self._row
        written = _since(row, self.offered, input_ids) if row is not None else None
        if row is None or written is None:
            row = self._begin(input_ids)
            written = input_ids[-1:].tolist()
        self._move_on(row, written)
        chain = self._propose(row) if self._breaker.allows() else _NOTHING
        self.offered = len(chain)
        return chain

    def end(self, written: Sequence[int] = ()) -> None:
        """The answer is over: `written` was sampled since the last call, maybe all of it offered,
        for whoever reads may stop in a draft."""
        row, self._row, self.offered = self._row, None, 0
        if row is None:
            return
        if written:
            self._move_on(row, written, own=0)
        if isinstance(row.session, Attentive):
            row.session.finish("stop")
        row.session.close()

    def _begin(self, held: NDArray[np.intc]) -> Row:
        self.end()
        prompt: Ids = held[:-1].astype(np.int32)  # a copy: the caller goes on writing there
        self._row = Row(prompt, self._draft.open(Request("row", prompt)))
        return self._row

    def _move_on(self, row: Row, written: Sequence[int], own: int = 1) -> None:
        row.move_on(written, own)
        self.checked += row.checked
        self.accepted += row.accepted
        if row.checked:
            self._breaker.record(row.checked, row.accepted)

    def _propose(self, row: Row) -> NDArray[np.intc]:
        room = min(self._most, self._longest - row.length - 1)
        if room <= 0:
            return _NOTHING
        proposal = row.session.propose(room, self._price)
        offered = trim(proposal, room, self._vocab_size, trees=False)
        row.offer(offered, offered.tokens.tolist())
        return offered.tokens.astype(np.intc)


def _since(row: Row, offered: int, held: NDArray[np.intc]) -> list[int] | None:
    """What was written since the last call, None if this is another text. A pass writes one token
    more than were right."""
    new = len(held) - row.length
    if not 0 < new <= offered + 1 or not np.array_equal(held[: row.length], row.tokens):
        return None
    return held[row.length :].tolist()
