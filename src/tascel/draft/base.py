"""What a draft is: it proposes ids and a trust for each. Correctness never depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tascel.draft.price import Price
from tascel.types import FinishReason, Ids, Request


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


@dataclass(frozen=True, slots=True)
class Stem:
    """What a draft goes on behind: `tokens` that another has drafted below the last known one,
    right with probability `trust`, in a tree of `width` nodes of which `expected` will likely be
    accepted; `open` is the probability that they are right and nothing in the tree goes on with
    them. The default is the last known token itself."""

    tokens: tuple[int, ...] = ()
    trust: float = 1.0
    width: int = 0
    expected: float = 0.0
    open: float = 1.0

    @staticmethod
    def of(proposal: Proposal, node: int) -> Stem:
        """The path down to a node, -1 for the root."""
        path: list[int] = []
        at = node
        while at >= 0:
            path.append(int(proposal.tokens[at]))
            at = int(proposal.parents[at])
        trust = float(proposal.trust[node]) if node >= 0 else 1.0
        further = float(proposal.trust[proposal.parents == node].sum())
        expected = float(proposal.trust.sum())
        return Stem(tuple(path[::-1]), trust, len(proposal), expected, max(0.0, trust - further))


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


@runtime_checkable
class Costly(Session, Protocol):
    """A session whose drafting runs passes of its own, `spent` milliseconds so far: by a price, not
    by a clock."""

    spent: float


@runtime_checkable
class Attentive(Session, Protocol):
    """A session that wants to hear how its answer ended."""

    def finish(self, reason: FinishReason) -> None:
        """The answer is whole: called once, before `close`; never if it failed or was cancelled."""
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
        self,
        sessions: Sequence[Any],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
    ) -> list[Proposal]:
        """`Session.propose` for every row, at the price of a batch of so many rows, or of
        `rows_of_pass` where others share the pass."""
        ...


@runtime_checkable
class Lasting(Draft, Protocol):
    """A draft that learns for longer than this process lasts."""

    def start(self) -> None:
        """Learn from now on."""
        ...

    def close(self) -> None:
        """Put away what was learned, and stop."""
        ...


@runtime_checkable
class Forgetful(Draft, Protocol):
    """A draft that learns from requests and can undo that."""

    def forget(self) -> None:
        """As it was built."""
        ...
