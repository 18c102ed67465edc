"""Entropies of pairs of words, by hand; the paper's table as it adds up."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.advise.entropy import PAPER, entropy, words

OUTPUTS = [np.array([1, 2], np.int32)]


def test_two_labels_of_one_word_are_worth_two_bits():
    found = entropy(["a b c d"] * 4, ["yes", "no", "yes", "no"], OUTPUTS)
    # Four pairs, as often: edge-yes, yes-edge, edge-no, no-edge.
    assert (found["bits_out"], found["most_out"], found["pairs_out"]) == (2.0, 4, 8)
    assert found["bits_in"] == pytest.approx(np.log2(5))
    assert found["change"] == pytest.approx(2 / np.log2(5) - 1)
    assert (found["most_in"], found["ratio"]) == (4, 1.0)
    assert found["like"] == "sentiment, finance"
    assert found["renyi2"] == 1.0


def test_frequent_pairs_are_counted_first():
    answers = ["on"] * 9 + ["off"]
    found = entropy(["x"], answers, OUTPUTS)
    assert found["most_out"] == 2
    assert found["bits_out"] < 2


def test_nothing_to_foretell_has_no_bits():
    found = entropy([""], ["", ""], OUTPUTS)
    assert (found["bits_in"], found["bits_out"], found["change"]) == (0.0, 0.0, None)
    assert (found["most_out"], found["pairs_out"]) == (1, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"on": 12}', ["{", '"', "on", '"', ":", "12", "}"]),
        ("打开灯", ["打", "开", "灯"]),
        ("Größe_1", ["Größe", "_", "1"]),
        (" \n", []),
    ],
)
def test_words(text, said):
    assert words(text) == said


def test_the_papers_rows_add_up():
    ratios = [row.most_in / row.most_out for row in PAPER]
    printed = (8383, 5698, 1036.3, 20.6, 4.41, 2.32, 1.13, 6.52, 2.73, 1.76, 0.06)
    assert ratios == pytest.approx(printed, rel=0.12)
