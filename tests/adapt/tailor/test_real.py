"""The demo's real model with a vocabulary tailored to its task: at run time, and cut."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import transformers

from tascel.adapt.tailor.export import export
from tascel.adapt.tailor.needs import needs
from tascel.adapt.tailor.select import Filters, Selector
from tascel.builder import build
from tascel.codec import Codec
from tascel.decode.loop import complete
from tascel.demo.run import Demo
from tascel.draft.price import Price
from tascel.filling import put_selection
from tascel.loading import load
from tascel.traces.read import read_traces
from tascel.types import Sampling

pytestmark = pytest.mark.real

#: Nothing that the demo's task asks for: the selection lacks words of its answers.
FOREIGN = "Name three rivers of Europe and say what they are known for."


@pytest.fixture(scope="module")
def tailored(tmp_path_factory):
    """The demo with a selection in its bundle, traces that were selected from, and the model that
    was cut to it."""
    demo = Demo(lambda stage, done, total: None)
    demo.prepare()
    folder = tmp_path_factory.mktemp("tailored")
    train = [t for t in read_traces(demo.traces) if t.split == "train"]
    codec = Codec.from_pretrained(demo.model)
    selector = Selector(needs(train, codec, lambda stage, done, total: None), codec)
    selection, _ = selector.select(Filters())
    build(train[:2000], demo.model, folder / "bundle", adapter=demo.adapter)
    put_selection(folder / "bundle", selection, codec)
    kept = {*selection.ids.tolist(), *selector.texts(0.01).tolist()}
    export(demo.model, demo.adapter, kept, train[:100], 0.01, folder / "small")
    return demo, train[:100:20], folder


@pytest.fixture
def load_with(tailored, monkeypatch):
    # what is drafted here must not depend on how busy this machine is
    price = Price.from_points({1: 1.0, 8: 1.1, 16: 1.3, 32: 1.7, 64: 2.3})
    monkeypatch.setattr("tascel.loading.price_of", lambda *_, **__: price)
    demo, _, folder = tailored
    return partial(load, folder / "bundle", model=demo.model, adapter=demo.adapter, dtype="float32")


def test_a_lossless_head_answers_as_the_full_one(tailored, load_with):
    full, lossless = load_with(head="full"), load_with(head="lossless")
    prompts = [*(t.messages for t in tailored[0].held_out(4)), FOREIGN]
    sampled = Sampling(temperature=0.9, top_p=0.95, repetition_penalty=1.1, seed=7)
    for sampling in (Sampling(), sampled):
        requests = [full.request(p, sampling=sampling, max_tokens=48) for p in prompts]
        wanted = [complete(full.run(r, plain=True)).tokens for r in requests]
        alone = [complete(replace(lossless, draft=None).run(r)) for r in requests]
        drafted = [complete(lossless.run(r)) for r in requests]
        assert [done.tokens for done in alone] == wanted
        assert [done.tokens for done in drafted] == wanted
        # It runs ahead of the full head on its task, and is taken back on another.
        ahead = sum(done.stats.accepted.get("head", 0) for done in alone[:-1])
        assert ahead > sum(map(len, wanted[:-1])) / 3
        assert alone[-1].stats.offered["head"] > alone[-1].stats.accepted.get("head", 0)


def test_the_cut_model_answers_in_stock_transformers(tailored, load_with):
    _, known, folder = tailored
    full, codec = load_with(head="full"), Codec.from_pretrained(folder / "small")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "small", dtype=torch.float32)
    assert model.config.vocab_size < 3000
    for trace in known:
        prompt = torch.tensor([codec.prompt(trace.messages).tolist()])
        ids = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False,
            pad_token_id=codec.end_id,
        )[0, prompt.shape[1] :].tolist()  # fmt: skip
        wanted = complete(full.run(full.request(trace.messages, max_tokens=64), plain=True))
        assert codec.decode(ids) == full.codec.decode(wanted.tokens)
