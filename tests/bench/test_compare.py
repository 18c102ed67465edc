"""What seconds side by side say."""

from __future__ import annotations

import pytest

from tascel.bench.compare import table
from tascel.bench.contenders import Answer


def answer(prefill, decode, tokens=11, steps=11):
    return Answer((7,) * tokens, prefill, decode, steps)


def test_a_prefill_that_was_quicker_by_chance_makes_no_time_up():
    rounds = [
        {"none": answer(2.0, 10.0), "tascel": answer(1.5, 1.0, steps=2)},
        {"none": answer(1.5, 10.0), "tascel": answer(1.0, 1.0, steps=2)},
    ]
    none, ours = table(rounds)
    assert none["speedup"] == 1
    assert ours["speedup"] == pytest.approx(20 / 2)
    assert ours["speedup_total"] == pytest.approx(23.5 / 4.5)


def test_what_a_proposal_on_the_prefill_costs_counts():
    rounds = [{"none": answer(1.0, 10.0), "tascel": answer(2.0, 1.0, steps=2)}]
    _, ours = table(rounds)
    assert ours["speedup"] == pytest.approx(10 / 2)
