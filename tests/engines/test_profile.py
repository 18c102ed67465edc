"""Prices: measured within any context, kept where that is possible, believed only if sound."""

from __future__ import annotations

import json
import warnings

import pytest

from tascel.engines import profile
from tascel.engines.profile import Setting, measure, price_of

SETTING = Setting("toy", "f00d", "cpu", "float32", 1, "none")
GOOD = {"1": 2.0, "4": 3.0}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("limit", "widest"), [(2, 1), (3, 1), (8, 2), (16, 4), (64, 20), (128, 48), (1000, 64)]
)
def test_widths_fit_into_any_context(fake_engine, limit, widest):
    points = measure(fake_engine(context_limit=limit))  # a strict engine
    assert max(points) == widest
    assert min(points) == 1


def test_widths_stay_within_the_drafts_own_limit(fake_engine):
    assert max(measure(fake_engine(context_limit=4096, draft_limit=64))) == 20
    assert list(measure(fake_engine(drafts=False))) == [1]


def test_a_price_that_cannot_be_kept_is_still_a_price(fake_engine, cache):
    cache.write_text("a file where the folder belongs")
    with pytest.warns(UserWarning, match=r"anew each time.*TASCEL_CACHE"):
        price = price_of(fake_engine(), SETTING)
    assert price.ms[0, 0] > 0
    assert cache.is_file()


def test_a_kept_price_is_read(fake_engine, cache, monkeypatch):
    price = price_of(fake_engine(), SETTING)
    monkeypatch.setattr(profile, "measure", None)
    assert (price_of(fake_engine(), SETTING).ms == price.ms).all()
    SETTING.file.write_text(json.dumps({"ms": GOOD}))
    assert price_of(fake_engine(), SETTING).ms[0, :4].tolist() == pytest.approx(
        [2, 7 / 3, 8 / 3, 3]
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        '{"ms": {}}',
        '{"ms": [1, 2]}',
        '{"ms": {"4": 1.0}}',
        '{"ms": {"1": NaN}}',
        '{"ms": {"1": Infinity}}',
        '{"ms": {"1": 1e300}}',
        '{"ms": {"1": 0}}',
        '{"ms": {"1": 1e-300}}',
        '{"ms": {"1": -1.0}}',
        '{"ms": {"1": null}}',
        '{"ms": {"1": 1.0, "0": 1.0}}',
        '{"ms": {"1": 1.0, "4097": 1.0}}',
        '{"ms": {"1": 1.0, "1.5": 1.0}}',
        '{"ms": {"1": 1' + "0" * 400 + "}}",
    ],
)
def test_an_unsound_price_is_measured_again(fake_engine, cache, content):
    SETTING.file.parent.mkdir(parents=True)
    SETTING.file.write_text(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        price = price_of(fake_engine(), SETTING)
    assert price.ms.shape == (1, 64)
    kept = json.loads(SETTING.file.read_text())
    assert kept["setting"]["model"] == "toy"
    assert len(kept["ms"]) == len(profile.WIDTHS)


def test_a_busy_machine_is_measured_again(fake_engine, cache, monkeypatch):
    quiet = {width: 1.0 + width / 64 for width in profile.WIDTHS}
    runs = [quiet | {1: 5.0, 2: 4.0}, quiet | {1: 3.0}, quiet, quiet | {1: 0.5}]
    monkeypatch.setattr(profile, "measure", lambda engine, progress: runs.pop(0))
    price = price_of(fake_engine(), SETTING)
    assert len(runs) == 1
    assert price.ms[0, 0] == pytest.approx(quiet[1])
    assert json.loads(SETTING.file.read_text())["ms"]["2"] == quiet[2]


def test_a_cost_that_rises_is_not_disturbed():
    assert not profile.disturbed({1: 1.0, 2: 0.9, 4: 1.2})
    assert profile.disturbed({1: 1.0, 2: 0.7, 4: 1.2})
    assert not profile.disturbed({1: 1.0})
