"""New tokens: shorter ways to write the same ids, against trying all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.errors import ModelError
from tascel.new_tokens import NewTokens

base = st.integers(0, 3)
texts = st.lists(base, max_size=14).map(lambda ids: np.array(ids, np.int32))
vocabularies = st.sets(st.lists(base, min_size=2, max_size=5).map(tuple), max_size=8).map(
    lambda runs: NewTokens({100 + at: run for at, run in enumerate(sorted(runs))})
)


def ways(new: NewTokens, ids: tuple[int, ...]) -> Iterator[list[int]]:
    """Every way to write `ids`, longer first tokens before shorter ones."""
    if not ids:
        yield []
        return
    fitting = [(len(run), id_) for id_, run in new.runs.items() if ids[: len(run)] == run]
    for length, id_ in sorted([*fitting, (1, ids[0])], reverse=True):
        yield from ([id_, *rest] for rest in ways(new, ids[length:]))


@given(vocabularies, texts)
def test_the_shortest_of_all_ways_longest_tokens_first(new: NewTokens, ids: np.ndarray) -> None:
    best = min(ways(new, tuple(ids.tolist())), key=len)  # the first of the shortest
    assert new.shorten(ids).tolist() == best
    assert new.shorten(ids).dtype == np.int32


@given(vocabularies, texts)
def test_the_longest_match_is_the_first_way(new: NewTokens, ids: np.ndarray) -> None:
    assert new.longest(ids).tolist() == next(ways(new, tuple(ids.tolist())))


@given(vocabularies, texts)
def test_expanding_gives_the_ids_back(new: NewTokens, ids: np.ndarray) -> None:
    for short in (new.shorten(ids), new.longest(ids)):
        assert new.expand(short).tolist() == ids.tolist()
        assert new.expand(short).dtype == np.int32


@given(vocabularies)
def test_json_brings_them_back(new: NewTokens) -> None:
    assert NewTokens.from_json(json.loads(json.dumps(new.to_json()))) == new


def test_shortest_beats_longest() -> None:
    new = NewTokens({9: (1, 2), 8: (1, 2, 3), 7: (3, 4, 5)})
    ids = np.array([1, 2, 3, 4, 5], np.int32)
    assert new.longest(ids).tolist() == [8, 4, 5]
    assert new.shorten(ids).tolist() == [9, 7]


def test_none_changes_nothing() -> None:
    new, ids = NewTokens(), np.array([1, 2], np.int32)
    assert not new
    assert new.shorten(ids) is ids
    assert new.longest(ids) is ids
    assert new.expand(ids) is ids


def test_many_tokens_over_a_wide_vocabulary() -> None:
    rng = np.random.default_rng(0)
    runs = {tuple(rng.integers(0, 200_000, rng.integers(2, 9)).tolist()) for _ in range(3_000)}
    new = NewTokens({200_000 + at: run for at, run in enumerate(runs)})
    written = rng.integers(0, 203_000, 5_000).astype(np.int32)
    ids = new.expand(written)
    assert new.shorten(ids).tolist() == written.tolist()
    assert new.shorten(np.array([-1, 2**31 - 1], np.int32)).tolist() == [-1, 2**31 - 1]


@pytest.mark.parametrize(
    "content",
    [
        None,
        [[1, 2]],
        {"x": [1, 2]},
        {"9": 1},
        {"9": [1]},
        {"9": []},
        {"9": [1, "2"]},
        {"9": [1, 2.0]},
        {"9": [True, 1]},
        {"9": [1, -2]},
        {"-9": [1, 2]},
        {"9": [1, 2**31]},
        {"9": [1, 2], "8": [1, 9]},
        {"9": [1, 2], "8": [1, 2]},
        {"9": "12"},
    ],
)
def test_a_file_that_holds_something_else_is_refused(content: object) -> None:
    with pytest.raises(ModelError, match="Take the tokenizer"):
        NewTokens.from_json(content)
