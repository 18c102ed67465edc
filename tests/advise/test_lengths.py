"""Lengths and repetition, counted by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.advise.lengths import lengths, repeated

END = 9


def ids(*answers):
    return [np.array([*answer, END], np.int32) for answer in answers]


def test_tokens_of_answers_with_their_closing_ids():
    found = lengths(ids([], [1], [1, 2, 3], range(99)))
    assert (found["answers"], found["longest"], found["mean"]) == (4, 100, (1 + 2 + 4 + 100) / 4)
    assert found["quantiles"]["0.5"] == 3.0
    assert (found["empty"], found["one_token"]) == (0.25, 0.25)
    histogram = found["histogram"]
    assert sum(histogram["counts"]) == 4
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1 <= 22
    assert histogram["edges"][-1] > 100
    assert histogram["counts"][0] == 3


def test_answers_that_are_nothing_have_lengths_too():
    found = lengths(ids([], []))
    assert (found["mean"], found["empty"]) == (1.0, 1.0)
    assert found["histogram"]["counts"] == [0, 2]


def test_whole_answers_and_runs_that_are_said_again():
    learned = ids([1, 2, 3], [1, 2, 3], [4, 1, 2, 3], [5])
    found = repeated(learned, ids([5], [6]))
    assert (found["verbatim"], found["known"], found["distinct"]) == (0.5, 0.5, 3)
    # Runs of four: 1 2 3 9 three times, each in another answer; 4 1 2 3 once.
    assert found["runs"] == {"4": 0.75, "8": None, "16": None}


def test_an_answer_that_repeats_itself_is_said_once():
    assert repeated(ids([1] * 9), ids([1]))["runs"]["4"] == 0.0


@given(st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=6))
def test_shared_runs_are_those_that_two_answers_hold(answers):
    found = repeated(ids(*answers), ids([]))["runs"]["4"]
    runs = [
        [tuple([*answer, END][at : at + 4]) for at in range(len(answer) - 2)] for answer in answers
    ]
    shared = [sum(run in other for other in runs) > 1 for own in runs for run in own]
    assert found == (pytest.approx(sum(shared) / len(shared)) if shared else None)
