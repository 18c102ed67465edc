"""New tokens on the demo's real model: trained a little, merged, drafted for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from tascel import assets
from tascel.adapt.train.config import FinetuneConfig
from tascel.adapt.train.finetune import finetune
from tascel.bench.verify import verify
from tascel.builder import BuildConfig, build
from tascel.codec import Codec
from tascel.decode.loop import complete
from tascel.demo import household
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.loading import load
from tascel.traces.read import read_traces

pytestmark = pytest.mark.real


def test_a_real_model_learns_new_tokens_and_is_drafted_for(tmp_path):
    base = assets.smollm2()
    file = tmp_path / "household.jsonl"
    household.write(file)
    traces = list(read_traces(file))
    train = [t for t in traces if t.split == "train"][:400]
    tuned = tmp_path / "tuned"
    config = FinetuneConfig(new_tokens=50, steps=16, batch=8, learning_rate=3e-3, valid=0)
    finetune(train, base, tuned, config)

    plain, codec = Codec.from_pretrained(base), Codec.from_pretrained(tuned)
    test = [t for t in traces if t.split == "test"][:200]
    assert all(np.array_equal(plain.prompt(t.messages), codec.prompt(t.messages)) for t in test)
    short, long = ([len(ids) for _, ids in c.answers(test)] for c in (codec, plain))
    assert sum(short) < 0.5 * sum(long)

    build(train, tuned, tmp_path / "bundle", config=BuildConfig(tasks="one"))
    runner = load(tmp_path / "bundle", model=tuned, dtype="float32")
    runner.price = Price.from_points({1: 1.0, 8: 1.1, 16: 1.3, 32: 1.7, 64: 2.3})
    runner.breaker = Breaker(runner.price)
    requests = [runner.request(t.messages, max_tokens=24) for t in test[:6]]
    report = verify(runner, requests)
    assert report.equal, report.differences

    stock = transformers.AutoModelForCausalLM.from_pretrained(tuned, dtype=torch.float32)
    written = 0
    for request in requests[:3]:
        prompt = torch.tensor(request.prompt[None].astype(np.int64))
        ids = stock.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False,
            pad_token_id=codec.end_id,
        )[0, prompt.shape[1] :].tolist()  # fmt: skip
        assert list(complete(runner.run(request)).tokens) == ids
        written += sum(id_ in codec.new_tokens.runs for id_ in ids)
    assert written > 0
