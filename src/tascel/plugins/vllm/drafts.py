"""What the rows of a batch are offered: the bundle's drafts as chains, cut to what all of them
together can afford. Knows no engine, no clock and no chance: the same steps give the same offers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import BatchDraft
from tascel.draft.breaker import Breaker
from tascel.draft.merge import affordable
from tascel.draft.price import Price
from tascel.plugins.rows import Row, Rows
from tascel.types import Request

#: Sizes of batches whose costs are remembered.
_KEPT = 512


class Drafts:
    """Drafts for an engine that shows its whole batch after each step.

    Args:
        draft: proposes chains.
        price: of the engine's passes.
        eos_ids: end an answer; nothing is offered behind one of them.
        vocab_size: ids that the engine knows; no other is offered.
        longest: tokens that prompt and answer may have.
        most: tokens offered to one row.
    """

    def __init__(
        self,
        draft: BatchDraft,
        price: Price,
        eos_ids: Iterable[int],
        vocab_size: int,
        longest: int,
        most: int,
    ) -> None:
        self._eos_ids = frozenset(eos_ids)
        self._draft, self._price, self._breaker = draft, price, Breaker(price)
        self._rows = Rows(lambda prompt: draft.open(Request("row", prompt)), self._eos_ids)
        self._vocab_size, self._longest, self._most = vocab_size, longest, most
        self._cost = lru_cache(maxsize=_KEPT)(self._cost_of)
        self._pass = 0  # rows of the last pass that was offered something

    def propose(
        self, sampled: Sequence[Sequence[int]], counts: NDArray[np.int32], tokens: NDArray[np.int32]
    ) -> list[list[int]]:
        """A chain of ids for each list of `sampled`, maybe empty; the parameters are those of
        `Rows.step`."""
        rows = self._rows.step(sampled, counts, tokens)
        self._book([row for row in rows if row is not None])
        offers: list[list[int]] = [[] for _ in sampled]
        going = {
            at: row
            for at, row in enumerate(rows)
            if row is not None and self._eos_ids.isdisjoint(sampled[at])
        }
        if going and self._breaker.allows():
            self._pass = len(going)
            for at, offer in zip(going, self._chains([*going.values()]), strict=True):
                offers[at] = offer
        return offers

    def _chains(self, rows: Sequence[Row]) -> list[list[int]]:
        rooms = [max(0, min(self._most, self._longest - row.length - 1)) for row in rows]
        proposals = self._draft.propose_many(
            [row.session for row in rows], rooms, self._price, len(rows)
        )
        cost = self._cost(len(rows))
        counts = affordable([proposal.trust for proposal in proposals], len(rows), cost)
        chains: list[list[int]] = []
        for row, room, proposal, count in zip(rows, rooms, proposals, counts, strict=True):
            chain: list[int] = proposal.tokens[: min(room, count)].tolist()
            if chain and not 0 <= min(chain) <= max(chain) < self._vocab_size:
                chain = []  # of a damaged bundle; the engine would not survive it
            row.offer(proposal, chain)
            chains.append(chain)
        return chains

    def _cost_of(self, rows: int) -> NDArray[np.float64]:
        return self._price.curve(rows, rows * self._most, rows)  # one token a row comes anyway

    def _book(self, rows: Sequence[Row]) -> None:
        """Tell the breaker how the last offers fared."""
        checked = sum(row.checked for row in rows)
        if checked:
            accepted = sum(row.accepted for row in rows)
            self._breaker.record(checked, accepted, self._pass, self._pass)
