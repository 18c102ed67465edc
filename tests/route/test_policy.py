"""Which draft serves a task, and when none does: by counts and the price."""

import numpy as np
import pytest

from tascel.draft.price import Price
from tascel.route.policy import PRIOR_PASSES, WIDEST, Policy, Tally

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
    assert nothing.scaled(200).tokens == 0
    policy = Policy([nothing, nothing])
    assert policy.choose(None) == policy.choose(STEEP) == 0
    policy.record(0, 3, 1)
    assert policy.choose(STEEP) == 0


def test_scaled_keeps_the_shares():
    made = tally(7, 4, 3).and_pass(0, 1).scaled(100)
    assert made.passes.sum() == pytest.approx(100)
    assert made.passes[4] == pytest.approx(700 / 8)
    assert made.per_pass() == pytest.approx(22 / 8)


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


def test_requests_change_the_choice_and_forget_undoes_that():
    policy = Policy([tally(50, 4, 4), tally(50, 4, 3)])
    for _ in range(PRIOR_PASSES):
        policy.record(0, 4, 0)
    assert policy.choose(STEEP) == 1
    policy.forget()
    assert policy.choose(STEEP) == 0


def test_held_out_answers_weigh_as_much_however_many_there_were():
    few, many = (Policy([tally(n, 4, 4), tally(n, 4, 3)]) for n in (5, 5000))
    passes = {policy: 0 for policy in (few, many)}
    for policy in passes:
        while policy.choose(STEEP) == 0:
            policy.record(0, 4, 1)
            passes[policy] += 1
    assert passes[few] == passes[many] > 50


def test_a_task_whose_drafts_do_not_pay_rests_and_others_go_on():
    losing, other = (Policy([tally(9, 4, 2), Tally.empty()]) for _ in range(2))
    allowed = []
    for _ in range(60):
        allowed.append(losing.allows(STEEP))
        if allowed[-1]:
            losing.record(0, 16, 0)
        assert other.allows(STEEP)
        other.record(0, 1, 1)
    assert allowed[0]
    assert not allowed[-1]
    losing.forget()
    assert losing.allows(STEEP)


def test_nothing_offered_is_no_loss():
    policy = Policy([tally(9, 4, 2), Tally.empty()])
    for _ in range(100):
        assert policy.allows(STEEP)
        policy.record(0, 0, 0)


def test_tallies_are_not_changed():
    before = tally(3, 4, 2)
    kept = before.passes.copy()
    before.and_pass(1, 1)
    Policy([before, before]).record(0, 2, 2)
    assert np.array_equal(before.passes, kept)
