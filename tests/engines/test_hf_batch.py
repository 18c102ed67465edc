"""Batched answers are the answers one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tascel.decode.loop import complete, decode
from tascel.draft.price import Price
from tascel.engines.hf.batch import answers
from tascel.engines.hf.engine import HfEngine
from tascel.types import Request


def test_batches_answer_as_single_prompts_do(toy: Any, byte_stream: Any) -> None:
    model = toy(max_position_embeddings=48).double()
    model.generation_config.do_sample = True  # a checkpoint's sampling settings do not leak in
    model.generation_config.temperature = 0.7
    model.generation_config.repetition_penalty = 1.5
    own = model.generation_config
    rng = np.random.default_rng(0)
    lengths = [3, 40, 11, 0, 7, 48, 25, 1, 60, 12, 5]
    prompts = [rng.integers(0, 256, n).astype(np.int32) for n in lengths]
    engine = HfEngine(model)
    engine.eos_ids = frozenset(range(100, 112))
    found = dict(answers(model, prompts, engine.eos_ids, 0, max_tokens=20, batch=2))
    assert model.generation_config is own
    assert sorted(found) == list(range(len(prompts)))
    ended = 0
    for index, prompt in enumerate(prompts):
        if not 0 < len(prompt) < 48:
            assert found[index].tolist() == []
            continue
        request = Request("r", prompt, max_tokens=20)
        alone = complete(decode(engine, None, request, Price.free(), byte_stream()))
        assert found[index].tolist() == list(alone.tokens)
        ended += alone.finish_reason == "stop"
    assert found[0].dtype == np.int32
    assert ended > 1
