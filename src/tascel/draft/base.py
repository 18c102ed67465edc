"""What a draft is: it proposes ids and a trust for each. Correctness never depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tascel.draft.price import Price
from tascel.types import Ids, Request


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A tree of drafted tokens below the last known token, in topological order.

    Shapes are `[W]`: `tokens` i32; `parents` i16 (-1 is the root, a chain has parents i - 1);
    `trust` f32, the estimated probability that the whole path down to the node is right;
    `source` u8, an index into `types.SOURCES`.
    """

    tokens: Ids
    parents: NDArray[np.int16]
    trust: NDArray[np.float32]
    source: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether every node continues the one before it."""
        return bool(np.array_equal(self.parents, np.arange(-1, len(self) - 1)))

    @staticmethod
    def nothing() -> Proposal:
        """The empty proposal: this step is plain decoding."""
        return Proposal.chain([])

    @staticmethod
    def chain(tokens: Sequence[int], source: int = 3) -> Proposal:
        """A chain of `tokens`, fully trusted."""
        width = len(tokens)
        return Proposal(
            tokens=np.asarray(tokens, np.int32),
            parents=np.arange(-1, width - 1, dtype=np.int16),
            trust=np.ones(width, np.float32),
            source=np.full(width, source, np.uint8),
        )


class Session(Protocol):
    """A draft's memory of one request."""

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Draft what comes next: at most `room` tokens deep.

        `pending` is how many tokens the verify pass carries anyway: 1, or the whole prompt when the
        proposal rides on the prefill.
        """
        ...

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Learn what was really written: `tokens`, the first `taken` of them from `offered`."""
        ...

    def close(self) -> None:
        """Forget the request."""
        ...


class Draft(Protocol):
    """Something that can guess what a request's answer will be."""

    def open(self, request: Request) -> Session:
        """Start a request."""
        ...


@runtime_checkable
class BatchDraft(Draft, Protocol):
    """A draft that can serve all rows of a batch in one call."""

    def propose_many(
        self, sessions: Sequence[Any], rooms: Sequence[int], price: Price, pending: int
    ) -> list[Proposal]:
        """`Session.propose` for every row, at the price of a batch of so many rows."""
        ...


@runtime_checkable
class Forgetful(Draft, Protocol):
    """A draft that learns from requests and can undo that."""

    def forget(self) -> None:
        """As it was built."""
        ...
