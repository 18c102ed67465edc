"""Packed passes: batches of ragged rows that come and go, shared beginnings, and the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.decode.loop import Loop
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.engines.hf import plan
from tascel.engines.hf.engine import HfEngine
from tascel.types import Request

SLIDING = {"sliding_window": 8}
MIXED = SLIDING | {"layer_types": ["sliding_attention", "full_attention"]}
LONGROPE = {
    "original_max_position_embeddings": 52,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 52,
        "factor": 5.0,
    },
}
FAMILIES = [
    ("Llama", {}),
    ("Llama", {"attn_implementation": "eager"}),
    ("Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    ("Qwen3", {}),
    ("Mistral", SLIDING),
    ("Gemma2", SLIDING | {"head_dim": 8, "attn_logit_softcapping": 2.0}),
    ("Gemma3", MIXED | {"head_dim": 8}),
    ("GPT2", {}),
    ("GPTNeoX", {}),
    ("Phi", {}),
    ("Phi3", LONGROPE),
    ("Granite", {}),
    ("Olmo", {}),
    ("Olmo2", {}),
    ("Cohere2", MIXED),
    ("GptOss", MIXED | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
                        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    ("Falcon", {}),  # row by row
    ("Bloom", {"n_head": 4, "n_layer": 2}),  # row by row, chains
]  # fmt: skip


class Oracles:
    """Each request has an oracle of its own."""

    def __init__(self, draft: Any, truths: dict[str, list[int]], **settings: Any) -> None:
        self.sessions = {
            name: draft(truth, seed=seed, vocab_size=270, **settings)
            for seed, (name, truth) in enumerate(truths.items())
        }

    def open(self, request: Request) -> Any:
        return self.sessions[request.id].open(request)


def stock(model: Any, prompt: Any, max_tokens: int) -> list[int]:
    ids = torch.tensor(prompt[None].astype(np.int64))
    mask = torch.ones_like(ids)
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()


def prompts_of(seed: int, count: int) -> list[Any]:
    """Prompts of many lengths; half of them begin alike."""
    rng = np.random.default_rng(seed)
    head = rng.integers(0, 270, 24)
    return [
        np.concatenate([head[: 24 * (n % 2)], rng.integers(0, 270, rng.integers(1, 20))]).astype(
            np.int32
        )
        for n in range(count)
    ]


def serve(loop: Loop, requests: list[Request], stream: Any, seed: int, most: int = 4) -> Any:
    """All answers and what they shared: rows start at odd times and share passes; prompts are read
    in pieces."""
    rng = np.random.default_rng(seed)
    waiting, running = list(requests[::-1]), []
    done: dict[str, tuple[int, ...]] = {}
    shared = 0
    while waiting or running:
        while waiting and len(running) < most and (not running or rng.random() < 0.6):
            running.append(loop.start(waiting.pop(), stream()))
        loop.step(running, rng.integers(4, 20, len(running)).tolist())
        for answer in [answer for answer in running if answer.done]:
            running.remove(answer)
            answer.close(loop.engine)
            done[answer.request.id] = answer.completion().tokens
            shared += answer.shared
    return done, shared


@pytest.mark.parametrize(("family", "config"), FAMILIES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_that_come_and_go_answer_as_stock_generate_does(
    toy: Any, oracle_draft: Any, byte_stream: Any, family: str, config: dict[str, Any]
) -> None:
    model = toy(family, **config)
    prompts = prompts_of(5, 9)
    requests = [
        Request(str(i), prompt, max_tokens=int(7 + 5 * (i % 6))) for i, prompt in enumerate(prompts)
    ]
    truths = {r.id: stock(model, r.prompt, r.max_tokens) for r in requests}
    wanted = {name: tuple(truth) for name, truth in truths.items()}
    for prefixes in (True, False):
        engine = HfEngine(model, prefixes=prefixes)
        for skill, tree in ((0.8, True), (0.2, True), (0.9, False)):
            draft = Oracles(oracle_draft, truths, skill=skill, tree=tree)
            loop = Loop(engine, draft, Price.free())
            done, shared = serve(loop, requests, byte_stream, seed=int(10 * skill))
            assert done == wanted
            assert (shared > 0) == (prefixes and engine.packed)
        done, _ = serve(Loop(engine, None, Price.free()), requests, byte_stream, seed=1)
        assert done == wanted


@pytest.mark.parametrize("spare", [0, 300, 1 << 30])
def test_however_rows_are_grouped(
    toy: Any, oracle_draft: Any, byte_stream: Any, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    monkeypatch.setitem(plan.SPARE, "cpu", spare)
    model = toy("Mistral", **SLIDING)
    requests = [Request(str(i), p, max_tokens=25) for i, p in enumerate(prompts_of(2, 8))]
    truths = {r.id: stock(model, r.prompt, 25) for r in requests}
    draft = Oracles(oracle_draft, truths, skill=0.7)
    done, _ = serve(Loop(HfEngine(model), draft, Price.free()), requests, byte_stream, 3, most=8)
    assert done == {name: tuple(truth) for name, truth in truths.items()}


trees = st.lists(st.tuples(st.integers(0, 271), st.floats(0, 0.999)), max_size=12).map(
    lambda nodes: Proposal(
        np.array([token for token, _ in nodes], np.int32),
        np.array([int(at * (n + 1)) - 1 for n, (_, at) in enumerate(nodes)], np.int16),
        np.ones(len(nodes), np.float32),
        np.ones(len(nodes), np.uint8),
    )
)
tokens = st.lists(st.integers(0, 271), min_size=1, max_size=6)


@settings(max_examples=120)
@given(
    family=st.sampled_from(["Llama", "Gemma3", "Phi3"]),
    prefixes=st.booleans(),
    budget=st.sampled_from([512, 4096]),
    data=st.data(),
)
def test_any_use_gives_the_logits_of_a_fresh_pass(
    f64_models: Any, family: str, prefixes: bool, budget: int, data: Any
) -> None:
    """Rows are opened, fed, kept and closed at random; each logit is that of the row's own text."""
    model = f64_models[family]
    engine = HfEngine(model, cache_tokens=budget, prefixes=prefixes)
    texts: dict[Any, list[int]] = {}
    past: list[list[int]] = [list(range(30))]
    for _ in range(data.draw(st.integers(1, 6), "turns")):
        if data.draw(st.booleans(), "open") and len(texts) < 5:
            begin = data.draw(st.sampled_from(past), "begin")
            prompt = [*begin[: data.draw(st.integers(0, len(begin)), "of it")]]
            prompt += data.draw(tokens, "more")
            size = len(prompt) + data.draw(st.integers(1, 40), "answer")
            if engine.fits(size):
                row, shared = engine.open(np.array(prompt, np.int32), size)
                assert shared == 0 or (prefixes and 16 <= shared < len(prompt))
                texts[row] = prompt[:shared]
                check([row], [prompt[shared:]], [Proposal.nothing()], [[]], engine, model, texts)
        rows = [row for row in texts if data.draw(st.booleans(), "feed")]
        if rows:
            leads = [data.draw(tokens, "lead") for _ in rows]
            offers = [data.draw(trees, "tree") for _ in rows]
            paths = [data.draw(st.sampled_from(paths_of(offer)), "path") for offer in offers]
            check(rows, leads, offers, paths, engine, model, texts)
        if texts and data.draw(st.booleans(), "close"):
            row = data.draw(st.sampled_from(list(texts)), "which")
            past.append(texts.pop(row))
            engine.close(row)


@pytest.fixture(scope="module")
def f64_models(toy: Any) -> dict[str, Any]:
    return {
        "Llama": toy().double(),
        "Gemma3": toy("Gemma3", **MIXED, head_dim=8).double(),
        "Phi3": toy("Phi3", **LONGROPE).double(),
    }


def paths_of(offer: Proposal) -> list[list[int]]:
    paths: list[list[int]] = [[]]
    for node, parent in enumerate(offer.parents.tolist()):
        paths.append([*paths[parent + 1], node])
    return paths


def check(rows, leads, offers, paths, engine, model, texts) -> None:
    arrays = [np.array(lead, np.int32) for lead in leads]
    verdicts = engine.check(rows, arrays, offers)
    for row, lead, offer, path, verdict in zip(rows, leads, offers, paths, verdicts, strict=True):
        texts[row] += lead
        for node, way in enumerate(paths_of(offer), start=-1):
            text = texts[row] + [int(offer.tokens[n]) for n in way]
            if len(texts[row]) <= engine.draft_limit < len(text):
                continue  # the loop drafts nothing there
            np.testing.assert_allclose(verdict.logits(node), fresh(model, text), atol=1e-4)
        texts[row] += [int(offer.tokens[n]) for n in path]
    if engine.draft_limit < engine.context_limit:
        for row, path in zip(rows, paths, strict=True):
            if len(texts[row]) - len(path) <= engine.draft_limit < len(texts[row]):
                del texts[row][len(texts[row]) - len(path) :]
                path.clear()
    engine.keep(rows, paths)


def fresh(model: Any, text: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor([text]), use_cache=False).logits[0, -1].float().numpy()


def opened(engine: HfEngine, prompt: Any, size: int) -> Any:
    row, shared = engine.open(prompt, size)
    engine.check([row], [prompt[shared:]], [Proposal.nothing()])
    engine.keep([row], [[]])
    return row, shared


def test_what_is_shared(toy: Any) -> None:
    engine = HfEngine(toy(), cache_tokens=1024)
    rng = np.random.default_rng(0)
    text = rng.integers(0, 270, 60).astype(np.int32)
    live, shared = opened(engine, text, 80)
    assert shared == 0
    same, shared = opened(engine, text, 80)
    assert shared == 59  # one is left to read
    unread, shared = engine.open(text[:17], 20)
    assert shared == 16
    assert engine.open(text[:16], 20)[1] == 0  # too little
    engine.close(live)
    engine.close(same)
    engine.close(unread)
    assert opened(engine, np.r_[text[:40], 271].astype(np.int32), 50)[1] == 40  # of a closed row
    engine.forget()
    engine.close(opened(engine, text[30:], 50)[0])
    assert opened(engine, text[30:], 50)[1] == 29
    engine.forget()
    off = HfEngine(toy(), cache_tokens=1024, prefixes=False)
    opened(off, text, 80)
    assert opened(off, text, 80)[1] == 0


def test_nothing_is_shared_between_tenants(toy: Any) -> None:
    engine = HfEngine(toy(), cache_tokens=1024)
    text = np.random.default_rng(0).integers(0, 270, 60).astype(np.int32)

    def read(tenant: str | None) -> tuple[Any, int]:
        row, shared = engine.open(text, 80, tenant)
        engine.check([row], [text[shared:]], [Proposal.nothing()])
        engine.keep([row], [[]])
        return row, shared

    (first, shared), (other, shared_by_other) = read("a"), read("b")
    assert shared == shared_by_other == 0  # rows that are open
    assert engine.open(text, 80, "a")[1] == engine.open(text, 80, "b")[1] == 59
    engine.close(first)  # kept, and not for others
    assert read("c")[1] == read(None)[1] == 0
    engine.close(other)  # the same text, kept beside the first one's
    assert engine.open(text, 80, "a")[1] == engine.open(text, 80, "b")[1] == 59


def test_a_failed_pass_over_a_rope_switch_is_not_shared(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy("Phi3", **LONGROPE)
    engine = HfEngine(model)
    text, nothing = np.arange(50, dtype=np.int32), [Proposal.nothing()]
    row, _ = engine.open(text, 100)
    engine.check([row], [text], nothing)
    engine.keep([row], [[]])

    def fails(hidden: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.lm_head, "forward", fails)
    with pytest.raises(RuntimeError):
        engine.check([row], [text[:10]], nothing)  # reads all again, turned for long texts
    engine.close(row)
    assert engine.open(text, 100)[1] == 0


def test_what_has_not_been_read_is_not_shared(toy: Any) -> None:
    engine = HfEngine(toy())
    prompt = np.arange(40, dtype=np.int32)
    first, _ = engine.open(prompt, 50)
    assert engine.open(prompt, 50)[1] == 0
    engine.check([first], [prompt[:20]], [Proposal.nothing()])
    engine.keep([first], [[]])
    assert engine.open(prompt, 50)[1] == 20


def test_the_budget_holds(toy: Any) -> None:
    engine = HfEngine(toy(max_position_embeddings=2048), cache_tokens=1000)
    assert engine.cache_tokens == 512
    slab = engine._rows._slab
    assert engine.fits(512)
    assert not engine.fits(513)
    rows = []
    while engine.fits(100):
        prompt = np.arange(90, dtype=np.int32) + len(rows)
        rows.append(opened(engine, prompt, 100)[0])
    assert len(rows) == 4
    assert not engine.fits(1)
    engine.close(rows[1])  # its text is kept, and given up for the next row
    assert engine.fits(128)
    assert not engine.fits(129)
    assert engine._rows._prefixes.blocks
    rows[1] = opened(engine, np.arange(50, 140, dtype=np.int32), 100)[0]
    assert not engine._rows._prefixes.blocks
    assert slab.reach == 512
    for row in rows:
        engine.close(row)
    assert sum(block.length for block in engine._rows._prefixes.blocks) <= 128
    assert engine.fits(512)


@pytest.mark.parametrize("family", ["Llama", "Falcon"])
def test_nothing_is_left_of_thousands_of_rows(toy: Any, family: str) -> None:
    engine = HfEngine(toy(family), cache_tokens=2048)
    rng = np.random.default_rng(3)
    rows: list[Any] = []
    for turn in range(3000):
        size = int(rng.integers(20, 300))
        while not engine.fits(size):
            engine.close(rows.pop(int(rng.integers(len(rows)))))
        prompt = rng.integers(0, 3, size - 5).astype(np.int32)
        row, shared = engine.open(prompt, size)
        if turn % 50 == 0:
            engine.check([row], [prompt[shared:]], [Proposal.nothing()])
            engine.keep([row], [[]])
        rows.append(row)
    for row in rows:
        engine.close(row)
    assert engine.fits(2048)
    if engine.packed:
        slab = engine._rows._slab
        assert slab.reach == 2048
        assert all(len(layer.keys) == 2048 for layer in slab._layers.values())
        engine.forget()
        assert not slab._taken
