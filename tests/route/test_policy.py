"""Which draft serves a task, and when none does: by counts and the price."""

import numpy as np
import pytest

from tascel.draft.price import Price
from tascel.route.policy import PASSES, WIDEST, Policy, Tally

STEEP = Price.from_points({1: 1.0, 65: 17.0})  # each drafted token costs a quarter of a pass


def tally(passes, offered, written):
    """Of so many passes that offered and wrote the same."""
    made = Tally.empty()
    for _ in range(passes):
        made = made.and_pass(offered, written)
    return made


def test_a_tally_counts_tokens_by_pass_and_by_millisecond():
    made = tally(10, 4, 3)
    assert made.per_pass() == 3
    assert made.rate(Price.free()) == 3
    assert made.rate(STEEP) == pytest.approx(3 / 2)
    assert made.passes[4] == made.passes.sum() == 10
    wide = Tally.empty().and_pass(1000, 1)
    assert wide.passes[WIDEST] == 1


def test_nothing_counted_is_no_error():
    nothing = Tally.empty()
    assert nothing.per_pass() == nothing.rate(STEEP) == 0
    policy = Policy([nothing, nothing])
    assert policy.choose(None) == policy.choose(STEEP) == 0
    policy.record(3, 1)
    assert policy.choose(STEEP) == 0


def test_the_better_draft_is_chosen_and_of_equals_the_tasks_own():
    good, bad = tally(50, 4, 4), tally(50, 4, 2)
    assert Policy([good, bad]).choose(STEEP) == 0
    assert Policy([bad, good]).choose(STEEP) == 1
    assert Policy([good, good]).choose(STEEP) == 0


def test_the_price_decides_between_wide_and_narrow():
    wide, narrow = tally(50, 40, 5), tally(50, 2, 3)
    policy = Policy([wide, narrow])
    assert policy.choose(None) == policy.choose(Price.free()) == 0
    assert policy.choose(STEEP) == 1


def test_in_doubt_a_task_keeps_its_own_draft():
    own, better = tally(100, 4, 100), tally(100, 4, 105)
    assert Policy([own, better]).choose(STEEP) == 0
    assert Policy([own, tally(100, 4, 120)]).choose(STEEP) == 1
    assert Policy([own, tally(PASSES - 1, 4, 120)]).choose(STEEP) == 0


def test_a_task_whose_drafts_do_not_pay_rests_and_others_go_on():
    losing, other = (Policy([tally(9, 4, 2), Tally.empty()]) for _ in range(2))
    allowed = []
    for _ in range(60):
        allowed.append(losing.allows(STEEP))
        if allowed[-1]:
            losing.record(16, 0)
        assert other.allows(STEEP)
        other.record(1, 1)
    assert allowed[0]
    assert not allowed[-1]
    losing.forget()
    assert losing.allows(STEEP)


def test_nothing_offered_is_no_loss():
    policy = Policy([tally(9, 4, 2), Tally.empty()])
    for _ in range(100):
        assert policy.allows(STEEP)
        policy.record(0, 0)


def test_tallies_are_not_changed():
    before = tally(3, 4, 2)
    kept = before.passes.copy()
    before.and_pass(1, 1)
    Policy([before, before]).record(2, 2)
    assert np.array_equal(before.passes, kept)


def test_what_a_draft_spends_itself_counts():
    made = Tally.empty().and_pass(4, 4, 0.5).and_pass(4, 4, 0.5)
    assert made.drafting == 1.0
    assert made.per_pass() == 4
    assert made.rate(Price.free()) == pytest.approx(8 / 3)
    cheap, dear = (Tally(200.0, np.eye(65)[4] * 50, spent) for spent in (5.0, 80.0))
    ngrams = tally(50, 4, 3)
    assert Policy([ngrams, cheap]).choose(STEEP) == 1
    assert Policy([ngrams, dear]).choose(STEEP) == 0
    assert Policy([ngrams, cheap]).choose(None) == 1
    assert Policy([ngrams, dear]).choose(None) == 0


def test_a_draft_rests_when_its_own_passes_cost_more_than_it_brings():
    policy = Policy([tally(9, 4, 2)])
    price, allowed = Price.free(), True
    for _ in range(30):
        allowed = policy.allows(price)
        policy.record(2, 1, drafting=1.5)
    assert not allowed
    unasked = Policy([tally(9, 4, 2)])
    for _ in range(30):  # passes that ended in no proposal cost as well
        allowed = unasked.allows(price)
        unasked.record(0, 0, drafting=0.5)
    assert not allowed
