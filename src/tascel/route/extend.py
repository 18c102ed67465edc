"""Two drafts as one: what the n-grams know, and where they end, what a model guesses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np

from tascel.draft.base import Costly, Forgetful, Proposal, Session, Stem
from tascel.draft.merge import afford, merge
from tascel.draft.ngram import NgramDraft, NgramSession
from tascel.draft.price import Price
from tascel.types import Ids, Request


class Stemmed(Protocol):
    """A draft that can go on behind what another has drafted."""

    def open(self, request: Request) -> Session:
        """Start a request."""
        ...

    def propose_many(
        self,
        sessions: Sequence[Any],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
        stems: Sequence[Stem] | None = None,
    ) -> list[Proposal]:
        """One chain for each row below the end of its stem; a room counts the stem's tokens."""
        ...


class ExtendedDraft:
    """The n-grams' tree, continued by another draft where it most likely ends, and that one's chain
    again by n-grams: one proposal, of what pays.

    Where n-grams know nothing the other draft speaks first; where they are sure it goes on behind
    their leaf. N-grams cost nothing to ask, and what the other has spent on its chain is gone: what
    is offered is cut by the verify pass alone.
    """

    def __init__(self, first: NgramDraft, then: Stemmed) -> None:
        self.first, self.then = first, then

    def open(self, request: Request) -> ExtendedSession:
        """Start a request."""
        return ExtendedSession(self, self.first.open(request), self.then.open(request))

    def propose_many(
        self,
        sessions: Sequence[ExtendedSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
    ) -> list[Proposal]:
        """Draft for all rows of a batch, of which the pass has `rows_of_pass` in all."""
        rows = rows_of_pass or len(sessions)
        ngrams = [session.first for session in sessions]
        others = [session.then for session in sessions]
        trees = self.first.propose_many(ngrams, rooms, price, pending, rows)
        stems = [Stem.of(tree, ending(tree, self.first.eos_ids)) for tree in trees]
        chains = self.then.propose_many(others, rooms, price, pending, rows, stems)
        paths = [
            [*stem.tokens, *chain.tokens.tolist()]
            for stem, chain in zip(stems, chains, strict=True)
        ]
        spoken = [row for row, chain in enumerate(chains) if self._goes_on(chain)]
        spoken = [row for row in spoken if rooms[row] > len(paths[row])]
        tails = dict.fromkeys(range(len(sessions)), Proposal.nothing())
        with ExitStack() as stack:
            for row in spoken:
                stack.enter_context(ngrams[row].behind(paths[row]))
            left = [rooms[row] - len(paths[row]) for row in spoken]
            some = [ngrams[row] for row in spoken]
            found = self.first.propose_many(some, left, price, pending, rows)
            tails.update(zip(spoken, found, strict=True))
        return [
            _united(tree, stem, chain, tails[row], price, pending, rows)
            for row, (tree, stem, chain) in enumerate(zip(trees, stems, chains, strict=True))
        ]

    def warm(self) -> None:
        """Run every kernel once; the other draft is left until it is needed."""
        self.first.warm()

    def forget(self) -> None:
        """What requests taught either is dropped."""
        for draft in (self.first, self.then):
            if isinstance(draft, Forgetful):
                draft.forget()

    def _goes_on(self, chain: Proposal) -> bool:
        return len(chain) > 0 and int(chain.tokens[-1]) not in self.first.eos_ids


class ExtendedSession:
    """One request in both drafts."""

    def __init__(self, draft: ExtendedDraft, first: NgramSession, then: Session) -> None:
        self._draft, self.first, self.then = draft, first, then

    @property
    def spent(self) -> float:
        """Milliseconds of the other draft's passes, by its price."""
        return self.then.spent if isinstance(self.then, Costly) else 0.0

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`."""
        return self._draft.propose_many([self], [room], price, pending)[0]

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        self.first.accept(tokens, offered, taken)
        self.then.accept(tokens, offered, taken)

    def close(self) -> None:
        """Both forget the request."""
        self.first.close()
        self.then.close()


def ending(tree: Proposal, eos_ids: Ids) -> int:
    """The node behind which the answer most likely leaves a tree; -1 for the root.

    That is where most trust is left when the children's is taken off. Behind an id of `eos_ids`
    nothing comes.
    """
    left = np.concatenate([[1.0], np.nan_to_num(tree.trust)])
    np.subtract.at(left, tree.parents.astype(np.intp) + 1, left[1:].copy())
    left[1:][np.isin(tree.tokens, eos_ids)] = 0.0
    return int(left.argmax()) - 1


def _united(
    tree: Proposal,
    stem: Stem,
    chain: Proposal,
    tail: Proposal,
    price: Price,
    pending: int,
    rows: int,
) -> Proposal:
    """The tree, the chain below the end of the stem and the tail below the chain's, as far as they
    pay."""
    if not len(chain):
        return tree
    path = [*stem.tokens, *chain.tokens.tolist()]
    union = merge([tree, _below(stem.tokens, chain, 1.0), _below(path, tail, chain.trust[-1])])
    cost = price.curve(pending, len(union), rows)
    return afford([union], rows, cost)[0]


def _below(path: Sequence[int], proposal: Proposal, trust: float) -> Proposal:
    """A proposal that hangs below a path which others propose, as one from the root; its own trust
    is that behind the path, which is right with `trust`."""
    depth = len(path)
    parents = np.where(proposal.parents < 0, depth - 1, proposal.parents + depth)
    return Proposal(
        np.concatenate([np.array(path, np.int32), proposal.tokens]),
        np.concatenate([np.arange(-1, depth - 1), parents]).astype(np.int16),
        np.concatenate([np.zeros(depth), proposal.trust * trust]).astype(np.float32),
        np.concatenate([np.zeros(depth), proposal.source]).astype(np.uint8),
    )
