"""The demo's real model under OpenVINO: the same answers with drafts as without, in float32."""

from __future__ import annotations

from functools import partial

import pytest

from tascel.bench.verify import verify
from tascel.codec import Codec
from tascel.decode.loop import complete
from tascel.demo.run import Demo
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.engines.hf.load import fingerprint, load_model
from tascel.loading import load
from tascel.types import Sampling

pytestmark = pytest.mark.openvino


@pytest.fixture(scope="module")
def demo():
    parts = Demo(lambda stage, done, total: None)
    parts.prepare()
    parts.learn()
    return parts


@pytest.fixture(scope="module", params=["fp16", "int8"])
def opened(demo, request, tmp_path_factory):
    """`opened(dtype)`: a runner of an export in either form."""
    from tascel.engines.openvino.convert import convert

    folder = tmp_path_factory.mktemp("real") / request.param
    model = load_model(demo.model, demo.adapter, "float32", "cpu")
    weights = fingerprint(demo.model, demo.adapter)
    convert(
        model, Codec.from_pretrained(demo.model), folder, form=request.param, weights=weights
    )  # fmt: skip

    def runner(dtype):
        loaded = load(demo.bundle, model=folder, engine="openvino", dtype=dtype)
        # what is drafted here must not depend on how busy this machine is
        loaded.price = Price.from_points({1: 1.0, 8: 1.2, 16: 1.5, 32: 2.4, 64: 4.0})
        loaded.breaker = Breaker(loaded.price)
        return loaded

    return runner


def test_answers_are_equal_in_float32(demo, opened):
    runner = opened("float32")
    requests = [runner.request(t.messages, max_tokens=96) for t in demo.held_out(6)]
    report = verify(runner, requests)
    assert report.equal, report.differences
    assert report.drafted_share >= 0.3
    assert report.rejects >= 3

    sampling = Sampling(temperature=1.0, top_p=0.95, repetition_penalty=1.1, seed=11)
    ask = partial(runner.request, sampling=sampling, max_tokens=24)
    sampled = verify(runner, [ask(t.messages) for t in demo.held_out(2)])
    assert sampled.equal, sampled.differences
    assert sampled.offered > 0


def test_the_fast_ways_write_much_the_same(demo, opened):
    exact, fast = opened("float32"), opened("auto")
    asked = [t.messages for t in demo.held_out(6)]
    texts = [
        [complete(runner.run(runner.request(m, max_tokens=96))).text for m in asked]
        for runner in (exact, fast)
    ]
    assert sum(one == other for one, other in zip(*texts, strict=True)) >= 4
