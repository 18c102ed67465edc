"""What is trimmed from a proposal, and the way down a tree."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tascel.decode.walk import trim, walk
from tascel.draft.base import Proposal

nodes = st.tuples(
    st.integers(-3, 12),
    st.integers(-3, 14),
    st.one_of(st.floats(0, 1, width=32), st.just(float("nan"))),
    st.integers(0, 255),
)
proposals = st.lists(nodes, max_size=14).map(
    lambda rows: Proposal(
        np.array([r[0] for r in rows], np.int32),
        np.array([r[1] for r in rows], np.int16),
        np.array([r[2] for r in rows], np.float32),
        np.array([r[3] for r in rows], np.uint8),
    )
)


def paths(proposal: Proposal) -> list[tuple[int, ...]]:
    """The tokens from the root to each node."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(proposal.tokens.tolist(), proposal.parents.tolist(), strict=True):
        assert -1 <= parent < len(found)
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


@given(proposal=proposals, room=st.integers(0, 5))
def test_trim_keeps_exactly_the_sound_nodes(proposal: Proposal, room: int) -> None:
    def path(node: int) -> tuple[int, ...] | None:
        token, parent = int(proposal.tokens[node]), int(proposal.parents[node])
        above = () if parent == -1 else path(parent) if 0 <= parent < node else None
        if above is None or not 0 <= token < 10 or len(above) >= room:
            return None
        return (*above, token)

    sound = [p for node in range(len(proposal)) if (p := path(node)) is not None]
    trimmed = trim(proposal, room, vocab_size=10)
    assert paths(trimmed) == sound
    assert (trimmed.source < 4).all()
    assert [a.dtype for a in (trimmed.tokens, trimmed.parents)] == [np.int32, np.int16]


@given(proposal=proposals, room=st.integers(0, 5))
def test_without_trees_the_path_with_the_most_expected_tokens_stays(
    proposal: Proposal, room: int
) -> None:
    tree = trim(proposal, room, vocab_size=10)
    chain = trim(proposal, room, vocab_size=10, trees=False)
    assert chain.is_chain
    assert bool(len(chain)) == bool(len(tree))
    if len(chain):
        worth = np.nan_to_num(tree.trust.astype(np.float64))
        for node in range(len(tree)):
            worth[node] += worth[tree.parents[node]] if tree.parents[node] >= 0 else 0
        assert paths(chain)[-1] in paths(tree)
        assert np.nan_to_num(chain.trust.astype(np.float64)).sum() >= worth.max() - 1e-6


def test_arrays_of_different_lengths_are_cut_to_the_shortest() -> None:
    chain = Proposal.chain([1, 2, 3])
    ragged = Proposal(chain.tokens, chain.parents[:2], chain.trust, chain.source)
    assert trim(ragged, 9, 10).tokens.tolist() == [1, 2]


def test_walk_takes_the_first_of_equal_siblings_and_ends_with_the_models_own() -> None:
    tree = Proposal(
        np.array([4, 5, 5, 6, 7], np.int32),
        np.array([-1, -1, -1, 1, 2], np.int16),
        np.ones(5, np.float32),
        np.zeros(5, np.uint8),
    )
    answers = {-1: 5, 1: 6, 3: 8}
    assert list(walk(tree, answers.__getitem__)) == [(5, 1), (6, 3), (8, -1)]
    assert list(walk(Proposal.nothing(), lambda node: 3)) == [(3, -1)]


def test_walk_is_lazy() -> None:
    asked: list[int] = []

    def pick(node: int) -> int:
        asked.append(node)
        return node + 2

    steps = walk(Proposal.chain([1, 2, 3]), pick)
    assert next(steps) == (1, 0)
    assert asked == [-1]
