"""Trees united and cut: against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft.base import Proposal
from tascel.draft.merge import afford, affordable, merge


@st.composite
def trees(draw: st.DrawFn, widest: int = 6) -> Proposal:
    width = draw(st.integers(0, widest))
    parents = [draw(st.integers(-1, node - 1)) for node in range(width)]
    trust: list[float] = []
    for parent in parents:
        trust.append((trust[parent] if parent >= 0 else 1.0) * draw(st.floats(0.05, 1.0)))
    order = sorted(range(width), key=lambda node: (-trust[node], node))
    place = {node: at for at, node in enumerate(order)} | {-1: -1}
    return Proposal(
        np.array([draw(st.integers(0, 4)) for _ in order], np.int32),
        np.array([place[parents[node]] for node in order], np.int16),
        np.array([trust[node] for node in order], np.float32),
        np.full(width, draw(st.integers(1, 5)), np.uint8),
    )


def paths(proposal: Proposal) -> dict[tuple[int, ...], float]:
    """Each path of tokens with the best trust of a node at its end."""
    found: dict[tuple[int, ...], float] = {}
    of: list[tuple[int, ...]] = []
    for token, parent, trust in zip(
        proposal.tokens.tolist(), proposal.parents.tolist(), proposal.trust.tolist(), strict=True
    ):
        assert parent < len(of)
        of.append((*(of[parent] if parent >= 0 else ()), token))
        found[of[-1]] = max(trust, found.get(of[-1], 0.0))
    return found


@given(st.lists(trees(), max_size=4))
def test_a_union_has_all_paths_once(proposals: list[Proposal]) -> None:
    union = merge(proposals)
    expected: dict[tuple[int, ...], float] = {}
    for proposal in proposals:
        for path, trust in paths(proposal).items():
            expected[path] = max(trust, expected.get(path, 0.0))
    if len([p for p in proposals if len(p)]) > 1:
        assert len(union) == len(expected)
        assert np.all(np.diff(union.trust) <= 0)
    assert paths(union) == pytest.approx(expected)


def test_what_several_propose_is_the_first_ones() -> None:
    first, second = Proposal.chain([1, 2], source=4), Proposal.chain([1, 3], source=1)
    union = merge([first, second])
    assert dict(zip(union.tokens.tolist(), union.source.tolist(), strict=True)) == {
        1: 4,
        2: 4,
        3: 1,
    }


@given(st.lists(trees(4), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 9))
def test_the_batch_yields_most_tokens_per_millisecond(
    proposals: list[Proposal], sure: int, seed: int
) -> None:
    most = sum(map(len, proposals))
    cost = 1.0 + np.cumsum(np.random.default_rng(seed).random(most + 1) * 0.4)
    kept = afford(proposals, sure, cost)

    def rate(chosen: list[np.ndarray]) -> float:
        trust = [p.trust[: len(c)].sum() for p, c in zip(proposals, chosen, strict=True)]
        return (sure + sum(trust)) / cost[sum(map(len, chosen))]

    every = itertools.product(*(range(len(p) + 1) for p in proposals))
    best = max(rate([np.arange(n) for n in counts]) for counts in every)
    assert rate([k.tokens for k in kept]) == pytest.approx(best, rel=1e-5)
    for before, after in zip(proposals, kept, strict=True):
        assert after.tokens.tolist() == before.tokens[: len(after)].tolist()
        assert after.parents.tolist() == before.parents[: len(after)].tolist()


wild = st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.9, 1.0, 7.0, -1.0, np.nan, np.inf, -np.inf])


@given(st.lists(st.lists(wild, max_size=6), min_size=1, max_size=5), st.integers(0, 20))
def test_whatever_a_draft_trusts_the_likeliest_nodes_are_weighed(
    rows: list[list[float]], most: int
) -> None:
    trusts = [np.array(row, np.float32) for row in rows]
    cost = np.cumsum([1.0, *[0.25] * most])
    believed = [np.minimum.accumulate(np.nan_to_num(trust)) for trust in trusts]
    every = np.concatenate(believed)
    order = np.argsort(-every, kind="stable")[:most]
    yields = len(rows) + np.cumsum([0.0, *every[order]])
    taken = order[: int(np.argmax(yields / cost[: len(yields)]))]
    owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    expected = np.bincount(owner[taken], minlength=len(rows))
    assert affordable(trusts, len(rows), cost) == expected.tolist()


def test_nothing_that_does_not_pay_is_kept() -> None:
    (kept,) = afford([Proposal.chain([1, 2])], 1, np.array([1.0, 9.0, 17.0]))
    assert len(kept) == 0
