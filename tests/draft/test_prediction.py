"""Following a prediction through edits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft.prediction import LOOK, Prediction


def follow(predicted: list[int], answer: list[int]) -> int:
    """How many passes an answer takes when the prediction drafts up to 8 tokens."""
    prediction, at, passes = Prediction(np.array(predicted, np.int32)), 0, 0
    while at < len(answer):
        offered = prediction.propose(8).tokens.tolist()
        right = 0
        while right < len(offered) and answer[at : at + right + 1] == offered[: right + 1]:
            right += 1
        prediction.accept(answer[at : at + right + 1])
        at, passes = at + right + 1, passes + 1
    return passes


TEXT = list(range(100, 180))


def test_a_right_prediction_is_taken_whole() -> None:
    assert follow(TEXT, TEXT) == 9  # 80 tokens, 9 a pass


def test_edits_are_stepped_over() -> None:
    changed = [*TEXT[:20], 7, *TEXT[21:]]
    left_out = [*TEXT[:20], *TEXT[26:]]
    put_in = [*TEXT[:20], 7, 8, 9, *TEXT[20:]]
    assert follow(TEXT, changed) <= 12
    assert follow(TEXT, left_out) <= 12
    assert follow(TEXT, put_in) <= 15


def test_what_goes_wrong_is_trusted_less() -> None:
    prediction = Prediction(np.array(TEXT, np.int32))
    before = float(prediction.propose(1).trust[0])
    prediction.accept([100, 7, 8, 9])
    assert len(prediction.propose(4)) == 0  # lost
    prediction.accept([101])
    back = prediction.propose(2)
    assert back.tokens.tolist() == [102, 103]
    assert float(back.trust[0]) < before
    assert float(back.trust[1]) < float(back.trust[0])


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 3), max_size=40))
def test_any_answer_can_be_followed(predicted: list[int], answer: list[int]) -> None:
    prediction = Prediction(np.array(predicted, np.int32))
    for token in answer:
        offered = prediction.propose(5)
        assert offered.is_chain
        assert len(offered) <= 5
        assert np.all((offered.trust > 0) & (offered.trust <= 1))
        prediction.accept([token])


def test_of_too_many_places_the_nearest_are_looked_at() -> None:
    prediction = Prediction(np.array([5, 6] * (LOOK + 100), np.int32))
    prediction.accept([5, 6, 5, 9])
    assert len(prediction.propose(4)) == 0
    prediction.accept([5])
    assert prediction.propose(3).tokens.tolist() == [6, 5, 6]
