"""From what a draft says to what is checked (`trim`), and from the check to tokens (`walk`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal
from tascel.types import SOURCES

#: No verify pass is wider: a bound on memory that no priced draft reaches.
WIDEST = 512

_OTHERS = np.isin(SOURCES, ("prediction", "grammar", "head"))


def trim(proposal: Proposal, room: int, vocab_size: int, trees: bool = True) -> Proposal:
    """The part of `proposal` that may be checked; the one place where drafts are distrusted.

    Drops nodes with an id outside the vocabulary, a parent that does not come before them or a
    depth beyond `room`, all with what hangs below them; without `trees` keeps the one path with the
    highest expected number of accepted tokens (the sum of its trusts).
    """
    parents: list[int] = proposal.parents.tolist()
    tokens: list[int] = proposal.tokens.tolist()
    width = min(len(proposal), len(parents), len(proposal.trust), len(proposal.source), WIDEST)
    depth = [0] * width
    for node in range(width):
        parent = parents[node]
        above = depth[parent] if 0 <= parent < node else 0
        grounded = parent == -1 or above > 0
        if grounded and above < room and 0 <= tokens[node] < vocab_size:
            depth[node] = above + 1
    kept = [node for node in range(width) if depth[node]]
    if not trees and not _chained(parents, kept):
        kept = _best_path(parents, kept, np.nan_to_num(proposal.trust).tolist())
    place = {node: at for at, node in enumerate(kept)}
    source = proposal.source[kept]
    return Proposal(
        tokens=proposal.tokens[kept].astype(np.int32),
        parents=np.array([place.get(parents[node], -1) for node in kept], np.int16),
        trust=proposal.trust[kept],
        source=np.where(source < len(SOURCES), source, SOURCES.index("draft")).astype(np.uint8),
    )


def ours(proposal: Proposal) -> NDArray[np.bool_]:
    """Which nodes the draft answers for, not the caller's prediction, the grammar or the
    engine: bool[W]."""
    return ~_OTHERS[proposal.source]


def walk(proposal: Proposal, pick: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Go down the tree along the picked tokens; yields (token, node), one at a time.

    `pick(node)` is the id that follows `node` (-1: the root). Node -1 in a yielded pair means that
    nobody had drafted the token: it is the model's own and the last of the pass.
    """
    tokens, parents = proposal.tokens, proposal.parents
    node = -1
    while True:
        token = pick(node)
        below = np.flatnonzero((parents == node) & (tokens == token))
        if not below.size:
            yield token, -1
            return
        node = int(below[0])
        yield token, node


def follow(offered: Proposal, rest: Sequence[int]) -> list[tuple[int, int]]:
    """What a pass writes of a known answer of which `rest` is left, as `walk` says it."""
    step: list[tuple[int, int]] = []
    for pair in walk(offered, lambda _: rest[len(step)]):
        step.append(pair)
        if len(step) == len(rest):
            break
    return step


def _chained(parents: list[int], kept: list[int]) -> bool:
    return all(parents[node] == above for above, node in zip([-1, *kept], kept, strict=False))


def _best_path(parents: list[int], kept: list[int], trust: list[float]) -> list[int]:
    expected: dict[int, float] = {-1: 0.0}
    for node in kept:
        expected[node] = expected[parents[node]] + trust[node]
    node = max(kept, key=expected.__getitem__)
    path: list[int] = []
    while node != -1:
        path.append(node)
        node = parents[node]
    return path[::-1]
