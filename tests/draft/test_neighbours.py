"""The search for similar prompts: what is indexed, what is found first, what is left out."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft.kernels.retrieval import RAREST, VISITS
from tascel.draft.neighbours import ALONE, BYTES, COMMON, SCALE, Neighbours

features = st.sets(st.integers(0, 30), max_size=12).map(lambda ids: some(*ids))
prompts = st.lists(features, max_size=40)


def some(*ids: int) -> np.ndarray:
    return np.array(sorted(ids), np.uint32)


def weight(holders: int, count: int) -> int:
    return round(SCALE * math.log1p(count / holders) ** 2)


def held(index: Neighbours) -> dict[int, list[int]]:
    spans = zip(index.keys.tolist(), index.starts[:-1], index.starts[1:], strict=True)
    return {key: index.traces[lo:hi].tolist() for key, lo, hi in spans}


def plain(index: Neighbours, asked: np.ndarray, k: int, without: list[bool]):
    """What `find` says, in plain Python."""
    lists, worth = held(index), dict(zip(index.keys.tolist(), index.weights.tolist(), strict=True))
    ids = asked.tolist()
    mass = sum(sorted((worth[i] for i in ids if i in worth), reverse=True)[:RAREST])
    if len(index):
        mass += min(RAREST, sum(i not in worth for i in ids)) * weight(1, len(index))
    found = []
    for trace, own in enumerate(index.masses.tolist()):
        both = sum(worth[i] for i in ids if trace in lists.get(i, []))
        if both and not (trace < len(without) and without[trace]):
            found.append((np.float32(both / max(both, own + mass - both)), trace))
    best = sorted(found, reverse=True)[:k]
    return [trace for _, trace in best], [like for like, _ in best]


@given(prompts, features, st.integers(0, 6), st.lists(st.booleans(), max_size=40))
def test_find_says_what_plain_python_says(parts, asked, k, without) -> None:
    index = Neighbours.of(parts)
    traces, similarity = index.find(asked, k, np.array(without, np.bool_))
    assert (traces.tolist(), similarity.tolist()) == plain(index, asked, k, without)
    assert (traces.dtype, similarity.dtype) == (np.int32, np.float32)
    assert np.all((similarity > 0) & (similarity <= 1))


@given(prompts)
def test_an_index_holds_the_rarest_of_each_trace(parts: list[np.ndarray]) -> None:
    index = Neighbours.of(parts)
    lists, count = held(index), len(parts)
    holders = {key: sum(key in part for part in parts) for key in range(31)}
    for trace, part in enumerate(parts):
        here = {key for key, in_ in lists.items() if trace in in_}
        alone = sorted(key for key in part.tolist() if holders[key] == 1)
        several = {key for key in part.tolist() if 1 < holders[key] <= COMMON * count**0.5}
        assert here == {*alone[:ALONE], *several}
        assert index.masses[trace] == sum(weight(holders[key], count) for key in here)


@given(
    st.lists(st.integers(0, 9), max_size=9),
    st.lists(st.integers(0, 2**16 - 1), max_size=9),
    *[st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 9), max_size=12)] * 3,
    features,
)
def test_a_damaged_index_is_only_a_bad_one(keys, weights, starts, traces, masses, asked) -> None:
    index = Neighbours(
        np.array(keys, np.uint32),
        np.array(weights, np.uint16),
        *(np.array(array, np.int32) for array in (starts, traces, masses)),
    )
    found, similarity = index.find(asked, 4)
    assert len(set(found.tolist())) == len(found)
    assert np.all((found >= 0) & (found < len(masses)))
    assert np.all((similarity > 0) & (similarity <= 1))


def test_the_rarer_what_is_shared_the_nearer() -> None:
    index = Neighbours.of([*[some(2)] * 2, *[some(2, 3)] * 3, *[some(3)] * 9])
    traces, similarity = index.find(some(2, 3), 14)
    assert traces.tolist() == [4, 3, 2, 1, 0, *range(13, 4, -1)]
    assert np.all(np.diff(similarity) <= 0)


def test_among_equals_the_newest_first_and_some_left_out() -> None:
    index = Neighbours.of([some(1, 2)] * 3 + [some(3, 4)] * 40)
    traces, similarity = index.find(some(1, 2), 5)
    assert traces.tolist() == [2, 1, 0]
    assert similarity.tolist() == [1, 1, 1]
    without = np.zeros(43, np.bool_)
    without[[0, 2]] = True
    assert index.find(some(1, 2), 5, without)[0].tolist() == [1]


def test_a_prompt_that_comes_again_finds_itself() -> None:
    rng = np.random.default_rng(0)
    shared = np.arange(1000, 3000)  # a long system prompt
    parts = [some(*shared, *rng.integers(0, 500, 5), 4000 + i) for i in range(300)]
    index = Neighbours.of(parts)
    for i in (0, 17, 299):
        traces, similarity = index.find(parts[i], 3)
        assert traces[0] == i
        assert similarity[0] == 1 > similarity[1]


def test_what_all_traces_share_is_known_and_weighs_nothing() -> None:
    parts = [some(i % 20, 100 + i % 30) for i in range(200)]
    longer = [some(*part, *range(1000, 1500)) for part in parts]
    bare, shared = Neighbours.of(parts), Neighbours.of(longer)
    for part, long in zip(parts, longer, strict=True):
        for a, b in zip(bare.find(part, 8), shared.find(long, 8), strict=True):
            assert np.array_equal(a, b)
    assert len(shared.traces) == len(bare.traces)


def test_an_index_keeps_to_its_bytes() -> None:
    rng = np.random.default_rng(0)
    parts = [np.unique(rng.integers(0, 20_000, 150).astype(np.uint32)) for _ in range(500)]
    index = Neighbours.of(parts)
    arrays = (index.keys, index.weights, index.starts, index.traces, index.masses)
    assert sum(a.nbytes for a in arrays) <= BYTES * len(parts) + 4
    assert index.find(parts[7], 1)[0].tolist() == [7]


def test_a_search_reads_only_so_much() -> None:
    half = VISITS // 2 + 1
    index = Neighbours(
        some(1, 2),
        np.array([9, 8], np.uint16),
        np.array([0, half, 2 * half], np.int32),
        np.arange(2 * half, dtype=np.int32),
        np.ones(2 * half, np.int32),
    )
    assert index.find(some(1, 2), 1)[0].tolist() == [half - 1]


def test_nothing_is_like_nothing() -> None:
    for index in (Neighbours.of([]), Neighbours.of([some()]), Neighbours.of([some(1)])):
        assert len(index.find(some(2, 3), 4)[0]) == 0
        assert len(index.find(some(), 4)[0]) == 0
