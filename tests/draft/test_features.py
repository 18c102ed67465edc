"""Features of a prompt: the same for what says the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft.features import features, folding

TEXTS = ("turn", " Turn", " ", " on", "\n\n", " off", "ON")
FOLD = folding(TEXTS)
ids = st.lists(st.integers(0, len(TEXTS) - 1), max_size=30)


def of(*prompt: int) -> list[int]:
    return features(np.array(prompt, np.int32), FOLD).tolist()


def test_folding_joins_what_differs_in_case_and_spaces() -> None:
    assert FOLD.tolist() == [0, 0, -1, 3, -1, 5, 3]
    assert FOLD.dtype == np.int32


def test_case_and_spaces_change_nothing_and_order_does() -> None:
    assert of(0, 3) == of(1, 2, 6, 4)
    assert of(0, 3) != of(3, 0)
    assert len(set(of(0, 3, 5)) & set(of(0, 3))) == 3  # two words and their pair


@given(ids)
def test_features_are_the_words_and_the_pairs(prompt: list[int]) -> None:
    words = [int(FOLD[i]) for i in prompt if FOLD[i] >= 0]
    found = of(*prompt)
    assert found == sorted(set(found))
    assert len(found) == len({(w,) for w in words} | set(pairwise(words)))


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20))
def test_any_id_has_a_feature_or_none(prompt: list[int]) -> None:
    found = features(np.array(prompt, np.int32), FOLD)
    assert found.dtype == np.uint32
    assert len(found) <= 2 * len(prompt)


def test_nothing_has_no_features() -> None:
    assert of() == []
    assert of(2, 4) == []
