"""What of an answer its prompt has already, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.advise.copied import copied
from tascel.decode.forced import Example


def example(prompt, output):
    return Example(np.array(prompt, np.int32), np.array([*output, 99], np.int32))


def test_runs_of_tokens_that_the_prompt_has():
    known = [example([1, 2, 3, 4, 5], [7, 1, 2, 3, 7, 4]), example([1], [1, 1])]
    # Of eight tokens 1 2 3 lie in runs of two that the prompt has; none in one of four.
    assert copied(known, ["", ""], ["", ""])["tokens"] == {"2": 3 / 8, "4": 0.0}
    assert copied(known[:1], [""], [""])["answers"] == 1
    whole = [example([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])]
    assert copied(whole, [""], [""])["tokens"] == {"2": 1.0, "4": 1.0}


def test_words_without_signs_and_case():
    found = copied([example([1], [1])], ["Play Blue Train, now"], ['{"track": "blue train"}'])
    assert found["words"] == {"1": pytest.approx(2 / 3), "2": pytest.approx(2 / 3)}


def test_empty_answers_copy_nothing():
    found = copied([example([1, 2], [])], ["a"], [""])
    assert found["tokens"] == {"2": 0.0, "4": 0.0}
    assert found["words"] == {"1": 0.0, "2": 0.0}
