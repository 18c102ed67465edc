"""The search for similar prompts: what it finds first, what it leaves out."""

from __future__ import annotations

import numpy as np

from tascel.draft.neighbours import Neighbours


def some(*ids: int) -> np.ndarray:
    return np.array(sorted(ids), np.uint32)


def test_the_rarer_what_is_shared_the_nearer() -> None:
    index = Neighbours.of([some(1, 2, 9), some(1, 3, 8), some(1, 4, 7), some(5, 6, 7)])
    traces, similarity = index.find(some(1, 2, 7), 3)
    assert traces.tolist() == [0, 2, 3]
    assert np.all(np.diff(similarity) <= 0)
    assert np.all((similarity > 0) & (similarity <= 1))


def test_among_equals_the_newest_first_and_some_left_out() -> None:
    index = Neighbours.of([some(1, 2)] * 3 + [some(3, 4)] * 40)
    traces, similarity = index.find(some(1, 2), 5)
    assert traces.tolist() == [2, 1, 0]
    assert np.allclose(similarity, 1)
    without = np.zeros(43, np.bool_)
    without[[0, 2]] = True
    assert index.find(some(1, 2), 5, without)[0].tolist() == [1]


def test_nothing_is_like_nothing() -> None:
    for index in (Neighbours.of([]), Neighbours.of([some()]), Neighbours.of([some(1)])):
        assert len(index.find(some(2, 3), 4)[0]) == 0
        assert len(index.find(some(), 4)[0]) == 0
