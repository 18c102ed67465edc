"""Measuring vLLM, without vLLM: a stand-in that takes known times."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from tascel.engines.profile import CONTEXT, Setting, keep_price, kept_price, machine
from tascel.errors import ModelError, RequestError
from tascel.plugins.vllm import launch, passes, probe

SETTING = Setting("m", "w", "cpu", "float32", 1, "vllm 0", machine())


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Engine:
    """Takes 10 ms a pass and one for every token of it; every other pass' answer is fetched late,
    so that the next one seems early. Rows join one by one."""

    model_config = SimpleNamespace(get_vocab_size=lambda: 1000)

    def __init__(self, clock):
        self.clock, self.left, self.late = clock, {}, False
        self.prompts = []

    def add_request(self, name, prompt, params):
        self.prompts.append(prompt["prompt_token_ids"])
        self.left[name] = (prompt["prompt_token_ids"][0], params.max_tokens)

    def has_unfinished_requests(self):
        return bool(self.left)

    def step(self):
        self.clock.now += (10 + sum(extra + 1 for extra, _ in self.left.values())) / 1000
        answered = list(self.left)
        self.left = {n: (extra, left - 1) for n, (extra, left) in self.left.items() if left > 1}
        return answered


@pytest.fixture
def engine(monkeypatch):
    clock = Clock()
    params = SimpleNamespace(SamplingParams=lambda **given: SimpleNamespace(**given))
    monkeypatch.setattr(passes, "import_module", lambda name: params)
    monkeypatch.setattr(passes, "perf_counter", clock)
    return Engine(clock)


@pytest.mark.parametrize(("most", "measured"), [(256, [1, 4, 8, 16]), (5, [1, 4])])
def test_passes_are_timed_by_rows_and_tokens(engine, most, measured):
    found = passes.measure_all(engine, passes.fitting(most))
    assert {rows: sorted(points) for rows, points in found.items()} == {
        rows: [rows * width for width in passes.WIDTHS[rows]] for rows in measured
    }
    for points in found.values():
        for tokens, ms in points.items():
            assert ms == pytest.approx(10 + tokens)
    assert {len(prompt) for prompt in engine.prompts} == {CONTEXT}


def test_the_probe_offers_what_a_row_s_prompt_says(monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "setting_of", lambda config: SETTING)
    config = SimpleNamespace(
        model_config=Engine.model_config,
        parallel_config=SimpleNamespace(rank=0),
        additional_config={passes.KEY: str(tmp_path / "setting")},
    )
    one = probe.Probe(config)
    assert json.loads((tmp_path / "setting").read_text()) == asdict(SETTING)
    ids = np.array([[3, 5], [0, 5], [7, 5], [9, 9]], np.int32)
    drafts = one.propose([[1], [2], [], [3, 4]], np.full(4, 2, np.int32), ids)
    assert [len(draft) for draft in drafts] == [3, 0, 0, 9]
    config.parallel_config.rank, config.additional_config = 1, {}
    probe.Probe(config)  # only the first rank tells


def test_a_price_measured_elsewhere_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    points = {1: {1: 10.0, 8: 12.0}, 4: {4: 20.0, 8: 24.0}}
    assert kept_price(SETTING) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_price(SETTING, points, CONTEXT)
    price = kept_price(SETTING)
    assert price is not None
    assert price.plain(4) == 20.0


def test_vllm_must_be_there_and_its_speculation_ours(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="has no vLLM"):
        launch.check_flags([])
    monkeypatch.setattr(launch, "find_spec", lambda name: "here")
    launch.check_flags(["--max-model-len", "64"])
    for flag in ("--speculative-config={}", "--additional-config", "--speculative-config.model"):
        with pytest.raises(RequestError, match="speculation"):
            launch.check_flags([flag])


def test_a_vllm_that_fails_is_quoted(monkeypatch):
    monkeypatch.setattr(launch, "check_flags", lambda flags: None)
    with pytest.raises(ModelError, match=r"cannot measure nowhere: \w+Error: .*vllm"):
        launch.measure("nowhere", [])


def test_of_a_failed_vllm_s_log_the_first_error_counts():
    log = "INFO 1\n(Core) ERROR ValueError: no head of size 8\n  File x\nRuntimeError: see above\n"
    assert launch._cause(log) == "ValueError: no head of size 8"
    assert launch._cause("Killed\n") == "Killed"
