"""What a plan says, out of measured numbers that are given here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tascel.bench.bridge import Model, report
from tascel.bench.held_out import held_out
from tascel.errors import TraceError

LARGE = Model(prompt=100, tokens=50, prefill=80, step=40, drafted=1000, per_pass=2.0)
SMALL = Model(prompt=100, tokens=50, prefill=10, step=10, drafted=250, per_pass=2.0)


def said(large, small, reading=60.0):
    return report("big", "little", large, small, reading, 20, 24, 1000)


def test_times_and_lengths_are_the_formulas():
    content = said(LARGE, SMALL)
    ms = {row["name"]: row["ms"] for row in content["answers"]}
    assert ms == {
        "large": 80 + 50 * 40, "large + drafts": 80 + 1000,
        "small alone": 10 + 50 * 10, "small alone + drafts": 10 + 250,
        "bridged": 60 + 10 + 50 * 10, "bridged + drafts": 60 + 10 + 250,
    }  # fmt: skip
    assert content["paid_back_tokens"] == pytest.approx(80 / 30)
    assert content["break_even_tokens"] == 0  # reading and both prompts take less than its prefill
    assert said(LARGE, SMALL, 130)["break_even_tokens"] == pytest.approx((130 + 10 - 80) / 30)


def test_worth_only_where_the_large_model_s_own_drafts_are_beaten():
    assert said(LARGE, SMALL)["verdict"].startswith("Worth a try")
    drafted = said(replace(LARGE, drafted=200), SMALL)
    assert drafted["verdict"].startswith("Not worth training")
    assert "about as long as" in said(replace(LARGE, drafted=240), SMALL)["verdict"]


def test_a_small_model_that_is_no_faster_never_pays():
    content = said(LARGE, replace(SMALL, step=40, drafted=1000))
    assert (content["break_even_tokens"], content["paid_back_tokens"]) == (None, None)
    assert content["verdict"].startswith("Not worth")


def test_an_encoder_has_no_answers_to_compare_with():
    content = said(None, SMALL)
    assert content["answers"][0]["name"] == "small alone"
    assert "only encodes" in content["verdict"]
    assert "1.23 times" in content["verdict"]  # 320 to 260 ms


def test_what_is_replayed_was_not_learned(lamps):
    learned, held = held_out(lamps, 2)
    assert len(held) == 2
    assert not {t.prompt_text for t in held} & {t.prompt_text for t in learned}
    names = {0: "test", 1: "valid", 2: "valid"}
    split = [replace(t, split=names.get(i, "train")) for i, t in enumerate(lamps)]
    learned, held = held_out(split, 24)
    assert {t.prompt_text for t in held} == {t.prompt_text for t in split[1:3]}
    assert len(learned) == 27
    with pytest.raises(TraceError, match="too few traces"):
        held_out(split[:3], 24)
