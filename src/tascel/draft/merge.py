"""Several proposals for one pass: united into one tree, cut to what the whole batch can afford."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal
from tascel.draft.kernels import affording

_afford: Callable[..., None] = affording.afford


def merge(proposals: Sequence[Proposal]) -> Proposal:
    """One tree of all nodes, likeliest first. What several propose counts for the first of them, at
    the highest trust.

    Parents must come before their children, as `trim` leaves them.
    """
    full = [proposal for proposal in proposals if len(proposal)]
    if len(full) == 1:
        return full[0]
    place: dict[tuple[int, int], int] = {}
    trust: list[float] = []
    source: list[int] = []
    for proposal in full:
        at: list[int] = []  # node of this proposal -> node of the union
        tokens: list[int] = proposal.tokens.tolist()
        parents: list[int] = proposal.parents.tolist()
        trusts: list[float] = np.nan_to_num(proposal.trust).tolist()
        sources: list[int] = proposal.source.tolist()
        for token, parent, trusted, who in zip(tokens, parents, trusts, sources, strict=True):
            above = at[parent] if parent >= 0 else -1
            node = place.setdefault((above, token), len(place))
            at.append(node)
            if node == len(trust):
                trust.append(trusted)
                source.append(who)
            trust[node] = max(trust[node], trusted)
            if above >= 0:  # a draft that trusts a child more than its parent is taken at the less
                trust[node] = min(trust[node], trust[above])
    union = Proposal(
        np.array([token for _, token in place], np.int32),
        np.array([above for above, _ in place], np.int16),
        np.array(trust, np.float32),
        np.array(source, np.uint8),
    )
    return select(union, np.argsort(-union.trust, kind="stable"))


def select(proposal: Proposal, nodes: NDArray[np.intp]) -> Proposal:
    """The proposal of these nodes in this order; each must come behind its parent."""
    place = np.full(len(proposal) + 1, -1)  # the last entry is the root's
    place[nodes] = np.arange(len(nodes))
    return Proposal(
        proposal.tokens[nodes],
        place[proposal.parents[nodes]].astype(np.int16),
        proposal.trust[nodes],
        proposal.source[nodes],
    )


def afford(proposals: Sequence[Proposal], sure: int, cost: NDArray[np.float64]) -> list[Proposal]:
    """The nodes that make the pass yield most tokens per millisecond, over all its rows.

    `sure` tokens come of the pass anyway; `cost` f64[N + 1] is its price with 0…N drafted tokens.
    Best-first within each proposal: a node is never kept without its parent.
    """
    counts = affordable([proposal.trust for proposal in proposals], sure, cost)
    return [
        select(proposal, np.arange(count))
        for proposal, count in zip(proposals, counts, strict=True)
    ]


def affordable(
    trusts: Sequence[NDArray[np.float32]], sure: int, cost: NDArray[np.float64]
) -> list[int]:
    """How many of each proposal's first nodes, whose `trusts` are given, `afford` keeps."""
    counts = np.empty(len(trusts), np.int64)
    sizes = np.array([len(trust) for trust in trusts])
    _afford(np.concatenate(trusts), sizes, float(sure), cost, counts)
    return counts.tolist()
