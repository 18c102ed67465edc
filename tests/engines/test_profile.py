"""Prices: measured within any context, kept where that is possible, believed only if sound."""

from __future__ import annotations

import json
import warnings

import pytest

from tascel.engines import profile
from tascel.engines.profile import Setting, measure, measure_all, price_of

SETTING = Setting("toy", "f00d", "cpu", "float32", 1, "none")
GOOD = {"1": {"1": 2.0, "4": 3.0}, "8": {"8": 4.0, "16": 6.0}}


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
    assert list(measure(fake_engine(drafts=False), 4)) == [4]


@pytest.mark.parametrize(
    ("limit", "widest"), [(2, 1), (8, 2), (16, 4), (64, 16), (1000, 16)]
)  # fmt: skip
def test_batches_are_measured_by_all_their_tokens(fake_engine, limit, widest):
    engine = fake_engine(context_limit=limit)
    seen = []
    points = measure_all(engine, lambda done, total: seen.append((done, total)))
    assert list(points) == [1, *profile.BATCHES]
    for rows in profile.BATCHES:
        assert (min(points[rows]), max(points[rows])) == (rows, rows * widest)
    assert {*engine.batches} == {1, *profile.BATCHES}
    assert not engine.open_rows
    assert seen[-1][0] == seen[-1][1] == len({*seen})


def test_rows_one_after_the_other_cost_what_each_costs_alone(fake_engine):
    engine = fake_engine(packed=False)
    points = measure_all(engine)
    assert {*engine.batches} == {1}
    for rows in profile.BATCHES:
        assert points[rows] == {rows * n: rows * points[1][n] for n in profile.BATCH_WIDTHS}


def test_what_earlier_rounds_left_is_not_measured(fake_engine):
    class Engine(fake_engine):
        def open(self, prompt, size, tenant=None):
            assert not self.prefixes
            return super().open(prompt, size, tenant)

    engine = Engine()
    measure_all(engine)
    assert engine.prefixes


def test_few_rejected_tokens_lie_in_the_cache_meanwhile(fake_engine):
    class Engine(fake_engine):
        rejected = 0

        def open(self, prompt, size, tenant=None):
            self.rejected = 0
            return super().open(prompt, size, tenant)

        def check(self, rows, leads, proposals):
            assert self.rejected <= profile.REJECTED
            self.rejected += len(proposals[0])
            return super().check(rows, leads, proposals)

    assert len(measure(Engine(packed=False))) > 10


def test_batches_that_the_cache_does_not_hold_are_left_out(fake_engine):
    assert list(measure_all(fake_engine(cache_tokens=4 * 192))) == [1, 4]


def test_a_small_cache_is_measured_with_a_short_context(fake_engine):
    assert list(measure_all(fake_engine(cache_tokens=64))) == [1]


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
    price = price_of(fake_engine(), SETTING)
    assert price.curve(1, 3).tolist() == pytest.approx([2, 7 / 3, 8 / 3, 3])
    assert price.curve(8, 8, rows=8)[[0, 4, 8]].tolist() == pytest.approx([4, 5, 6])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        '{"ms": {}}',
        '{"ms": [1, 2]}',
        '{"ms": {"1": 2.0, "4": 3.0}}',
        '{"ms": {"1": {}}}',
        '{"ms": {"1": {"4": 1.0}}}',
        '{"ms": {"4": {"4": 1.0}}}',
        '{"ms": {"1": {"1": NaN}}}',
        '{"ms": {"1": {"1": Infinity}}}',
        '{"ms": {"1": {"1": 1e300}}}',
        '{"ms": {"1": {"1": 0}}}',
        '{"ms": {"1": {"1": 1e-300}}}',
        '{"ms": {"1": {"1": -1.0}}}',
        '{"ms": {"1": {"1": null}}}',
        '{"ms": {"1": {"1": 1.0, "0": 1.0}}}',
        '{"ms": {"1": {"1": 1.0, "4097": 1.0}}}',
        '{"ms": {"1": {"1": 1.0, "1.5": 1.0}}}',
        '{"ms": {"1": {"1": 1' + "0" * 400 + "}}}",
        '{"ms": {"1": {"1": 1.0}, "8": {"16": 1.0}}}',
        '{"ms": {"1": {"1": 1.0}, "8": {"8": 1.0, "7": 1.0}}}',
        '{"ms": {"1": {"1": 1.0}, "0": {"0": 1.0}}}',
    ],
)
def test_an_unsound_price_is_measured_again(fake_engine, cache, content):
    SETTING.file.parent.mkdir(parents=True)
    SETTING.file.write_text(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        price = price_of(fake_engine(), SETTING)
    assert price.ms.shape == (4, 256)
    kept = json.loads(SETTING.file.read_text())
    assert kept["setting"]["model"] == "toy"
    assert list(kept["ms"]) == ["1", "4", "8", "16"]
    assert len(kept["ms"]["1"]) == len(profile.WIDTHS)


def test_a_busy_machine_is_measured_again(fake_engine, cache, monkeypatch):
    quiet = {width: 1.0 + width / 64 for width in profile.WIDTHS}
    runs = [quiet | {1: 5.0, 2: 4.0}, quiet | {1: 3.0}, quiet, quiet | {1: 0.5}]
    batch = {rows: {rows: 3.0} for rows in profile.BATCHES}
    monkeypatch.setattr(
        profile,
        "measure",
        lambda engine, rows, progress: runs.pop(0) if rows == 1 else batch[rows],
    )
    price = price_of(fake_engine(), SETTING)
    assert len(runs) == 1
    assert price.ms[0, 0] == pytest.approx(quiet[1])
    assert json.loads(SETTING.file.read_text())["ms"]["1"]["2"] == quiet[2]


def test_a_cost_that_rises_is_not_disturbed():
    assert not profile.disturbed({1: 1.0, 2: 0.9, 4: 1.2})
    assert profile.disturbed({1: 1.0, 2: 0.7, 4: 1.2})
    assert not profile.disturbed({1: 1.0})
