"""The demo's model, adapter and bundle inside transformers' own `generate`, in float32."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, RepetitionPenaltyLogitsProcessor, TextStreamer

from tascel.demo.run import Demo
from tascel.draft.price import Price
from tascel.engines.hf.load import load_model
from tascel.plugins.transformers import Drafts

pytestmark = pytest.mark.real


def test_the_demo_task_in_generate(monkeypatch, capsys):
    monkeypatch.setattr("tascel.loading.price_of", lambda *_, **__: Price.free())
    demo = Demo(lambda stage, done, total: None)
    demo.prepare()
    demo.learn()
    tokenizer = AutoTokenizer.from_pretrained(demo.model, padding_side="left")
    model = load_model(demo.model, demo.adapter, "float32")
    drafts = Drafts(demo.bundle, model, tokenizer)
    turns = [[*trace.messages] for trace in demo.held_out(4)]
    texts = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    settings = {"max_new_tokens": 48, "do_sample": False}

    plain = model.generate(**inputs, **settings)
    assert torch.equal(model.generate(**inputs, **settings, custom_generate=drafts), plain)
    stats = [answer.stats for answer in drafts.answers]
    assert sum(s.accepted["corpus"] for s in stats) > 20

    one = tokenizer(texts[0], return_tensors="pt")
    for stop in ('"', '":'):
        stopped = model.generate(**one, **settings, stop_strings=[stop], tokenizer=tokenizer)
        ours = model.generate(**one, **settings, custom_generate=drafts, tascel_stop=[stop])
        assert torch.equal(ours, stopped)
    more = settings | {"logits_processor": [RepetitionPenaltyLogitsProcessor(1.3)]}
    plain = model.generate(**one, **more, streamer=TextStreamer(tokenizer))
    text = capsys.readouterr().out
    streamer = TextStreamer(tokenizer)
    ours = model.generate(**one, **more, custom_generate=drafts, tascel_streamer=streamer)
    assert torch.equal(ours, plain)
    assert capsys.readouterr().out == text
