"""How far a neural draft's probabilities are believed, and how long its chains grow."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tascel.draft.base import Proposal, Stem
from tascel.draft.chain import Chain, Terms
from tascel.draft.confidence import BINS, DEPTHS, MOST, Confidence
from tascel.draft.price import Price
from tascel.errors import BundleError

TARGET = Price.from_points({1: 10.0, 64: 16.4})


def taught(share: float, times: int, probability: float = 0.85, depth: int = 0) -> Confidence:
    confidence = Confidence()
    for at in range(times):
        confidence.learn(depth, probability, (at * share) % 1 + share >= 1)
    return confidence


def test_an_untaught_probability_is_believed():
    for probability in (0.0, 0.3, 1.0):
        assert Confidence().trust(0, probability) == pytest.approx(probability)


def test_trust_follows_what_was_right_at_that_probability_and_depth():
    confidence = taught(0.25, 200)
    assert confidence.trust(0, 0.85) == pytest.approx(0.25, abs=0.08)
    assert confidence.trust(0, 0.55) == pytest.approx(0.55)
    assert confidence.trust(1, 0.85) == pytest.approx(0.85)
    assert confidence.rate(0) < 0.35 < 0.6 < confidence.rate(1)


def test_beyond_the_last_depth_all_are_one():
    confidence = taught(0.0, 100, depth=DEPTHS + 3)
    assert confidence.trust(DEPTHS - 1, 0.85) == confidence.trust(DEPTHS + 9, 0.85) < 0.3


def test_what_was_counted_gives_way_to_what_is_seen_and_comes_back():
    counts = np.zeros((2, DEPTHS, BINS))
    counts[:, :, :] = 100 * MOST
    confidence = Confidence(counts)
    before = confidence.trust(0, 0.85)
    for _ in range(400):
        confidence.learn(0, 0.85, False)
    assert before > 0.98
    assert confidence.trust(0, 0.85) < 0.7
    confidence.forget()
    assert confidence.trust(0, 0.85) == before
    assert np.array_equal(confidence.learned().counts, counts)


def test_what_was_learned_outlives_the_process():
    confidence = taught(0.25, 200).learned()
    again = Confidence.from_json(json.loads(json.dumps(confidence.to_json())))
    assert np.array_equal(again.counts, confidence.counts)
    assert again.counts[1].sum() == 200
    assert again.trust(0, 0.85) == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize(
    "damage",
    [
        {"edges": [0.5]},
        {"right": [[1.0]]},
        {"tried": "many"},
        {"tried": [[-1.0] * BINS] * DEPTHS},
        {"right": [[float("nan")] * BINS] * DEPTHS},
        {"right": [[9.0] * BINS] * DEPTHS},
        {"right": None},
    ],
)
def test_a_damaged_table_is_refused(damage):
    with pytest.raises(BundleError, match="confidence"):
        Confidence.from_json(Confidence().to_json() | damage)
    with pytest.raises(BundleError, match="confidence"):
        Confidence.from_json({})


def grown(probability: float, step: float, confidence: Confidence | None = None, **stem) -> int:
    terms = Terms.of(TARGET, 1, 1, 16, step)
    chain = Chain(Stem(**stem), 12, terms, confidence or Confidence())
    while chain.wants() and chain.push(7, probability):
        pass
    return len(chain.tokens)


def test_a_chain_ends_where_a_token_does_not_pay():
    assert grown(0.999, 0.1) == 12
    assert grown(0.999, 100.0) == 0
    assert 0 < grown(0.8, 2.0) < grown(0.95, 0.5) <= 12
    assert grown(0.001, 0.1) == 0


def test_a_dear_target_pays_for_longer_chains():
    short, long = (
        Terms.of(Price.from_points({1: ms, 64: 1.6 * ms}), 1, 1, 16, 1.0) for ms in (3.0, 60.0)
    )
    assert not short.pay(0.3, 0, 0.0, 0, 1.0)
    assert long.pay(0.3, 0, 0.0, 0, 1.0)


def test_a_draft_that_was_never_right_is_not_asked():
    confidence = taught(0.0, 300, probability=0.999)
    assert grown(0.999, 2.0, confidence) == 0
    assert grown(0.999, 2.0) > 0


def test_behind_an_unlikely_stem_less_is_worth_a_guess():
    sure = grown(0.9, 1.0, tokens=(1,), trust=0.95, width=1, expected=0.95, open=0.95)
    unsure = grown(0.9, 1.0, tokens=(1,), trust=0.05, width=1, expected=0.05, open=0.05)
    covered = grown(0.9, 1.0, tokens=(1,), trust=0.95, width=2, expected=1.9, open=0.0)
    assert unsure == covered == 0 < sure


def test_a_chain_learns_as_far_as_the_answer_tells():
    confidence = Confidence()
    chain = Chain(Stem((4,), 0.9, 1, 0.9), 8, Terms.of(TARGET, 1, 1, 8, 0.01), confidence)
    for token in (5, 6, 7):
        assert chain.push(token, 0.99)
    proposal = chain.proposal()
    assert proposal.tokens.tolist() == [5, 6, 7]
    assert proposal.is_chain
    assert (np.diff(proposal.trust) < 0).all()
    assert proposal.trust[0] == pytest.approx(0.9 * 0.99)
    chain.learn([4, 5, 9])  # the second is wrong, of the third nobody knows
    counts = confidence.learned().counts.sum(axis=-1)
    assert counts[:, :3].tolist() == [[1, 0, 0], [1, 1, 0]]
    chain.learn([3, 5, 6, 7])  # another stem came: nothing is known
    assert confidence.learned().counts.sum(axis=-1)[1].tolist() == [1, 1, 0, 0]


def test_a_stem_is_a_path_of_a_tree():
    tree = Proposal(
        np.array([3, 4, 5], np.int32),
        np.array([-1, 0, 0], np.int16),
        np.array([0.9, 0.6, 0.2], np.float32),
        np.ones(3, np.uint8),
    )
    stem = Stem.of(tree, 1)
    assert (stem.tokens, stem.width) == ((3, 4), 3)
    assert stem.trust == pytest.approx(0.6)
    assert stem.expected == pytest.approx(1.7)
    assert stem.open == pytest.approx(0.6)
    assert Stem.of(tree, 0).open == pytest.approx(0.1)
    assert Stem.of(tree, -1) == Stem((), 1.0, 3, stem.expected, pytest.approx(0.1))
