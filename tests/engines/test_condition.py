"""What a conditioner feeds in place of a prompt reaches the model, however the prompt is read."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.decode.loop import Loop, complete, decode
from tascel.decode.reach import Habit
from tascel.decode.schedule import Scheduler
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.engines.hf.batch import answers
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.vocabulary import Vocabulary
from tascel.types import Ids, Request

VOCAB = 272
LONGROPE = {
    "original_max_position_embeddings": 52,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4, "original_max_position_embeddings": 52, "factor": 5.0,
    },
}  # fmt: skip
FAMILIES = [
    ("Llama", {}),
    ("GPT2", {}),
    ("Gemma3", {"head_dim": 8, "sliding_window": 8}),  # embeds with a scale
    ("Gemma2", {"head_dim": 8, "sliding_window": 8}),  # scales behind
    ("Bloom", {"n_head": 4, "n_layer": 2}),  # row by row, chains
]  # fmt: skip


class Bent:
    """Bends a prompt's embeddings by what stands anywhere in it."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.asked: list[int] = []

    def __call__(self, prompt: Ids, embedded: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(prompt))
        waves = np.sin(np.arange(embedded.numel()) * (1 + int(prompt.sum())))
        return embedded + self.scale * torch.as_tensor(waves).view_as(embedded).to(embedded)


def reference(model: Any, conditioner: Any, prompt: Ids, most: int, eos: Any) -> list[int]:
    """Greedy, everything read anew for each token, without a cache."""
    embed = model.get_input_embeddings()
    written: list[int] = []
    with torch.inference_mode():
        fed = conditioner(prompt, embed(torch.tensor(prompt[None].astype(np.int64)))[0])
        while len(written) < most:
            behind = embed(torch.tensor([written], dtype=torch.long))[0]
            whole = torch.cat([fed, behind])[None]
            logits = model(inputs_embeds=whole, use_cache=False).logits
            written.append(int(logits[0, -1].argmax()))
            if written[-1] in eos:
                break
    return written


@pytest.fixture(scope="module")
def made(toy: Any) -> Any:
    """`made(which, tailored)`: a family's model, conditioner and engine."""

    @cache
    def make(which: int, tailored: bool = False) -> tuple[Any, Bent, HfEngine]:
        family, config = FAMILIES[which]
        model, bent = toy(family, **config), Bent()
        if not tailored:
            return model, bent, HfEngine(model, conditioner=bent)
        vocabulary = Vocabulary(model)
        vocabulary.settle(np.arange(0, VOCAB, 3, dtype=np.int32), True)
        return model, bent, HfEngine(model, vocabulary=vocabulary, conditioner=bent)

    return make


class Oracles:
    def __init__(self, draft: Any, truths: dict[str, list[int]], trees: bool) -> None:
        self.sessions = {
            name: draft(truth, seed=seed, vocab_size=VOCAB, tree=trees)
            for seed, (name, truth) in enumerate(truths.items())
        }

    def open(self, request: Request) -> Any:
        return self.sessions[request.id].open(request)


@settings(max_examples=25)
@given(
    which=st.integers(0, len(FAMILIES) - 1),
    tailored=st.booleans(),
    count=st.integers(1, 5),
    piece=st.sampled_from([3, 7, 512]),
    drafts=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_answers_are_those_of_a_model_that_is_fed_the_same_by_hand(
    made: Any, oracle_draft: Any, byte_stream: Any, which: int, tailored: bool, count: int,
    piece: int, drafts: bool, seed: int,
) -> None:  # fmt: skip
    model, bent, engine = made(which, tailored)
    rng = np.random.default_rng(seed)
    head = rng.integers(0, 270, 8)  # prompts begin alike, and share nothing
    requests = [
        Request(
            str(at),
            np.concatenate([head, rng.integers(0, 270, rng.integers(1, 14))]).astype(np.int32),
            max_tokens=int(rng.integers(1, 10)),
        )
        for at in range(count)
    ]
    wanted = {
        r.id: reference(model, bent, r.prompt, r.max_tokens, engine.eos_ids) for r in requests
    }
    bent.asked.clear()
    draft = Oracles(oracle_draft, wanted, engine.trees) if drafts else None
    loop = Loop(engine, draft, Price.free(), None, Habit())
    scheduler = Scheduler(loop, byte_stream, rows=3, piece=piece)
    for request in requests:
        scheduler.add(request)
    found: dict[str, list[int]] = {}
    while scheduler.waiting or scheduler.running:
        for event in scheduler.step():
            assert event.error is None
            if event.completion is not None:
                assert event.completion.stats.shared == 0
                found[event.request.id] = list(event.completion.tokens)
    assert found == wanted
    assert sorted(bent.asked) == sorted(len(r.prompt) for r in requests)  # once each


def test_the_condition_decides(made: Any, toy: Any, byte_stream: Any) -> None:
    model, bent, engine = made(0)
    prompts = [np.arange(start, start + 9, dtype=np.int32) for start in (5, 40, 80, 120)]
    requests = [Request(str(at), prompt, max_tokens=12) for at, prompt in enumerate(prompts)]

    def tokens() -> list[Any]:
        return [
            complete(decode(engine, None, r, Price.free(), byte_stream())).tokens for r in requests
        ]

    bent.scale = 0.0
    before = tokens()
    plain = HfEngine(model)
    assert before == [
        complete(decode(plain, None, r, Price.free(), byte_stream())).tokens for r in requests
    ]
    bent.scale = 1.0
    assert all(one != other for one, other in zip(tokens(), before, strict=True))


def test_stock_generate_is_fed_the_same(made: Any) -> None:
    model, bent, engine = made(0)
    prompts = [np.arange(n, 2 * n, dtype=np.int32) for n in (3, 11, 7, 20)]
    wanted = [reference(model, bent, prompt, 9, engine.eos_ids) for prompt in prompts]
    for batch in (1, 4):
        got = dict(answers(model, prompts, engine.eos_ids, 0, 9, batch, bent))
        assert [got[at].tolist() for at in range(len(prompts))] == wanted


def test_what_is_read_again_behind_a_rope_switch_is_fed_again(toy: Any, byte_stream: Any) -> None:
    model, bent = toy("Phi3", **LONGROPE), Bent()
    engine = HfEngine(model, conditioner=bent)
    prompt = np.arange(60, 105, dtype=np.int32)  # 45 tokens: the answer crosses the switch at 52
    request = Request("long", prompt, max_tokens=20)
    done = complete(decode(engine, None, request, Price.free(), byte_stream()))
    assert len(done.tokens) > 8
    assert list(done.tokens) == reference(model, bent, prompt, 20, engine.eos_ids)


def test_a_failing_conditioner_leaves_no_row_behind(toy: Any, byte_stream: Any) -> None:
    def broken(prompt: Ids, embedded: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no reader")

    engine = HfEngine(toy(), conditioner=broken, cache_tokens=64)
    request = Request("one", np.arange(9, dtype=np.int32), max_tokens=20)
    for _ in range(3):  # each would take half of the cache
        with pytest.raises(RuntimeError, match="no reader"):
            complete(decode(engine, None, request, Price.free(), byte_stream()))


def test_prompts_are_never_shared(toy: Any) -> None:
    engine = HfEngine(toy(), conditioner=Bent())
    assert not engine.prefixes
    engine.prefixes = True
    assert not engine.prefixes
    prompt = np.arange(9, dtype=np.int32)
    row, shared = engine.open(prompt, 20)
    assert shared == 0
    engine.check([row], [prompt], [Proposal.nothing()])
    engine.keep([row], [[]])
    engine.close(row)
    assert engine.open(prompt, 20)[1] == 0


def test_prompts_that_start_together_are_asked_together(toy: Any, byte_stream: Any) -> None:
    class Together(Bent):
        def many(self, prompts: list[Ids], embedded: list[torch.Tensor]) -> list[torch.Tensor]:
            together.append(len(prompts))
            return [self(*pair) for pair in zip(prompts, embedded, strict=True)]

    together: list[int] = []
    model, bent = toy(), Together()
    engine = HfEngine(model, conditioner=bent)
    loop = Loop(engine, None, Price.free())
    prompts = [np.arange(n, 3 * n, dtype=np.int32) for n in (4, 9, 6)]
    running = [
        loop.start(Request(str(at), prompt, max_tokens=5), byte_stream())
        for at, prompt in enumerate(prompts)
    ]
    for _ in range(4):
        loop.step(running)
    assert together == [3]
    for prompt, answer in zip(prompts, running, strict=True):
        assert answer.written == reference(model, bent, prompt, 4, engine.eos_ids)
