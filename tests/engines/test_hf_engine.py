"""The transformers engine: passes, masks, caches and refusals, on toys of many families."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.decode.loop import complete, decode
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.engines.hf import attention, plan
from tascel.engines.hf import rows as rows_module
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.verdict import HfVerdict, Logits
from tascel.errors import ModelError
from tascel.types import Completion, Request, Sampling

PROMPT = np.array([72, 101, 108, 108, 111, 32, 119, 111, 114, 108, 100, 33], np.int32)
SLIDING = {"sliding_window": 8}
MIXED = SLIDING | {"layer_types": ["sliding_attention", "full_attention"]}
LONGROPE = {
    "original_max_position_embeddings": 24,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 24,
        "factor": 10.0,
    },
}

QWEN_SLIDING = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
DYNAMIC = {
    "max_position_embeddings": 52,
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MLA = {"n_routed_experts": 4, "num_experts_per_tok": 2, "kv_lora_rank": 8, "q_lora_rank": 8,
       "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 16, "n_group": 1,
       "topk_group": 1, "moe_intermediate_size": 16, "num_key_value_heads": 4}  # fmt: skip

#: Family and config of models whose rows are read in one pass, trees and all.
PACKED = [
    ("Llama", {}),
    ("Llama", {"attn_implementation": "eager"}),
    ("Llama", DYNAMIC),
    ("Qwen2", {}),
    ("Qwen2", QWEN_SLIDING),
    ("Qwen3", {}),
    ("Qwen3Moe", MOE),
    ("Mistral", {"sliding_window": None}),
    ("Mistral", SLIDING),
    ("Gemma", {"head_dim": 8}),
    ("Gemma2", SLIDING | {"head_dim": 8, "attn_logit_softcapping": 2.0}),
    ("Gemma3", MIXED | {"head_dim": 8}),
    ("GPT2", {}),
    ("GPTNeoX", {}),
    ("Phi", {}),
    ("Phi3", {}),
    ("Phi3", SLIDING),
    ("Phi3", LONGROPE),
    ("Granite", {"attention_multiplier": 0.2}),
    ("Olmo", {}),
    ("Olmo2", {}),
    ("Olmo3", MIXED),
    ("Cohere2", MIXED),
    ("DeepseekV3", MLA),
    ("GptOss", MIXED | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
                        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
]  # fmt: skip

#: Family, config and whether trees can be checked, of those that are read row by row.
ROW_BY_ROW = [
    ("OPT", {"word_embed_proj_dim": 32}, True),
    ("Falcon", {}, True),
    ("Falcon", {"alibi": True}, False),
    ("Bloom", {"n_head": 4, "n_layer": 2}, False),
    ("Mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256}, False),
    ("GPTNeo", {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4,
                "window_size": 8}, False),
    ("Llama4", {"attention_chunk_size": 8, "head_dim": 8, "intermediate_size_mlp": 48,
                "num_local_experts": 2}, False),
]  # fmt: skip
FAMILIES = [*((*packed, True, True) for packed in PACKED), *((*r, False) for r in ROW_BY_ROW)]
QWEN3_NEXT = {
    "layer_types": ["linear_attention", "full_attention"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "head_dim": 8,
}


def answer(engine: Any, stream: Any, request: Request, draft: Any = None) -> Completion:
    return complete(decode(engine, draft, request, Price.free(), stream()))


def stock(model: Any, prompt: Any, max_tokens: int) -> tuple[int, ...]:
    ids = torch.tensor(prompt[None].astype(np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=0,
        )
    return tuple(out[0, len(prompt) :].tolist())


def some_tree() -> Proposal:
    return Proposal(
        np.array([5, 9, 7, 7, 3, 200, 9], np.int32),
        np.array([-1, -1, 0, 1, 3, 1, 4], np.int16),
        np.ones(7, np.float32),
        np.ones(7, np.uint8),
    )


def ancestors(proposal: Proposal, node: int) -> list[int]:
    path: list[int] = []
    while node >= 0:
        path.insert(0, node)
        node = int(proposal.parents[node])
    return path


def worst_logit(engine: HfEngine, model: Any, proposal: Proposal, *, cached: bool) -> float:
    """How far the logits of a pass with `proposal` are from plain forwards without a cache."""
    row, _ = engine.open(PROMPT, 200)
    (verdict,) = engine.check([row], [PROMPT], [proposal])
    before = PROMPT.tolist()
    if cached:
        engine.keep([row], [[]])
        before.append(42)
        (verdict,) = engine.check([row], [np.array([42], np.int32)], [proposal])
    worst = 0.0
    for node in range(-1, len(proposal)):
        path = [int(proposal.tokens[n]) for n in ancestors(proposal, node)]
        with torch.inference_mode():
            plain = model(torch.tensor([before + path]), use_cache=False).logits[0, -1]
        worst = max(worst, float(np.abs(verdict.logits(node) - plain.numpy()).max()))
        assert verdict.argmax(node) == int(plain.argmax())
    engine.close(row)
    return worst


@pytest.mark.parametrize(("family", "config", "trees", "packed"), FAMILIES)
def test_drafted_answers_are_those_of_stock_generate(
    toy: Any, oracle_draft: Any, byte_stream: Any, family: str, config: dict[str, Any],
    trees: bool, packed: bool,
) -> None:  # fmt: skip
    model = toy(family, **config)
    own = model.config._attn_implementation
    engine = HfEngine(model)
    assert (engine.drafts, engine.trees, engine.packed) == (True, trees, packed)
    assert model.config._attn_implementation == own
    request = Request("r", PROMPT, max_tokens=40)
    truth = stock(model, PROMPT, 40)
    assert len(set(truth)) > 3
    assert answer(engine, byte_stream, request).tokens == truth
    draft = oracle_draft(truth, seed=3, vocab_size=270, width=10, skill=0.85)
    drafted = answer(engine, byte_stream, request, draft)
    assert drafted.tokens == truth
    assert sum(drafted.stats.accepted.values()) > 5
    assert drafted.stats.rejects > 2 or engine.draft_limit < len(PROMPT) + 40


@settings(max_examples=40)
@given(
    family=st.sampled_from(["Llama", "Qwen2", "Qwen3"]),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.7, 1.5]),
        top_k=st.sampled_from([0, 20]),
        top_p=st.sampled_from([1.0, 0.9]),
        min_p=st.sampled_from([0.0, 0.02]),
        repetition_penalty=st.sampled_from([1.0, 1.2]),
        frequency_penalty=st.sampled_from([0.0, 0.3]),
        seed=st.integers(0, 2**32),
    ),
    seed=st.integers(0, 2**32),
    skill=st.sampled_from([0.0, 0.6, 0.95]),
    width=st.integers(1, 30),
    tree=st.booleans(),
    garbage=st.booleans(),
    prompt=st.lists(st.integers(0, 271), min_size=1, max_size=30),
    max_tokens=st.integers(1, 50),
    eos=st.sets(st.integers(0, 271), max_size=20),
    stop=st.lists(st.text("aeiost\x00", min_size=1, max_size=2), max_size=3),
)
def test_no_draft_changes_an_answer(
    f64_engines: Any, oracle_draft: Any, byte_stream: Any, family: str, sampling: Sampling,
    seed: int, skill: float, width: int, tree: bool, garbage: bool, prompt: list[int],
    max_tokens: int, eos: set[int], stop: list[str],
) -> None:  # fmt: skip
    engine = f64_engines[family]
    engine.eos_ids = frozenset(eos)
    request = Request("r", np.array(prompt, np.int32), sampling, tuple(stop), max_tokens)
    plain = answer(engine, byte_stream, request)
    draft = oracle_draft(plain.tokens, seed, skill, width, tree, vocab_size=272, garbage=garbage)
    drafted = answer(engine, byte_stream, request, draft)
    assert drafted.tokens == plain.tokens
    assert drafted.text == plain.text
    assert drafted.finish_reason == plain.finish_reason


@pytest.fixture(scope="module")
def f64_engines(toy: Any) -> dict[str, HfEngine]:
    """Engines whose rounding is too small for near-ties to hide or fake a difference."""
    context = {"max_position_embeddings": 64}
    return {f: HfEngine(toy(f, **context).double()) for f in ("Llama", "Qwen2", "Qwen3")}


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("cached", [False, True])
def test_every_node_of_a_tree_sees_its_own_path(toy: Any, family: str, cached: bool) -> None:
    model = toy(family)
    assert worst_logit(HfEngine(model), model, some_tree(), cached=cached) < 1e-4


@pytest.mark.parametrize("mistake", ["mask", "positions"])
@pytest.mark.parametrize("family", ["Llama", "Falcon"])
def test_a_wrong_mask_or_position_is_noticed(
    toy: Any, monkeypatch: pytest.MonkeyPatch, mistake: str, family: str
) -> None:
    """The control: both checks above and the engine's own fail when the tree view is wrong."""

    def blind(past: int, lead: int, parents: Any) -> Any:
        return np.tri(lead + len(parents), past + lead + len(parents), past, dtype=np.bool_)

    def straight(past: int, lead: int, parents: Any) -> Any:
        return np.arange(past, past + lead + len(parents))

    model = toy(family)
    sound = HfEngine(model)
    name, wrong = {"mask": ("tree_view", blind), "positions": ("tree_places", straight)}[mistake]
    monkeypatch.setattr(plan, name, wrong)
    monkeypatch.setattr(rows_module, name, wrong)
    with pytest.raises(AssertionError):
        assert worst_logit(sound, model, some_tree(), cached=True) < 1e-4
    mistaken = HfEngine(model)
    assert not mistaken.packed
    assert not mistaken.trees


@pytest.mark.parametrize("family", ["Llama", "Falcon"])
def test_what_is_kept_is_as_if_read_afresh(toy: Any, family: str) -> None:
    engine, tree = HfEngine(toy(family)), some_tree()
    for path in ([], [0], [0, 2], [1, 3], [1, 3, 4, 6], [1, 5]):
        kept = [*PROMPT.tolist(), 42, *(int(tree.tokens[node]) for node in path)]
        row, _ = engine.open(PROMPT, 60)
        engine.check([row], [PROMPT], [tree])
        engine.keep([row], [[]])
        engine.check([row], [np.array([42], np.int32)], [tree])
        engine.keep([row], [path])
        assert row.tokens == kept
        (verdict,) = engine.check([row], [np.array([7], np.int32)], [tree])
        again, _ = engine.open(np.array([1], np.int32), 60)
        (fresh,) = engine.check([again], [np.array([*kept, 7], np.int32)], [tree])
        for node in range(-1, len(tree)):
            np.testing.assert_allclose(verdict.logits(node), fresh.logits(node), atol=1e-4)
        engine.close(row)
        engine.close(again)


def test_logits_are_a_copy_and_ties_go_to_the_lowest_id() -> None:
    verdict = HfVerdict(Logits(torch.tensor([[9.0, 0, 0], [1.0, 3.0, 3.0], [2.0, 2.0, 0.0]])), 1)
    assert [verdict.argmax(-1), verdict.argmax(0)] == [1, 0]
    verdict.logits(-1)[:] = 0
    assert verdict.logits(-1).tolist() == [1, 3, 3]
    assert verdict.logits(0).dtype == np.float32


def test_low_precision_runs(toy: Any, oracle_draft: Any, byte_stream: Any) -> None:
    engine = HfEngine(toy(initializer_range=0.1).to(torch.bfloat16))
    assert engine.trees
    request = Request("r", PROMPT, Sampling(temperature=1.0, seed=1), max_tokens=20)
    draft = oracle_draft([1] * 20, vocab_size=270)
    draft.accept = lambda tokens, offered, taken: None
    assert len(answer(engine, byte_stream, request, draft).tokens) == 20


def test_drafts_never_cross_a_rope_switch(toy: Any) -> None:
    assert HfEngine(toy("Phi3", **LONGROPE)).draft_limit == 24
    assert HfEngine(toy("Phi3")).draft_limit == 256


def test_end_ids_and_limits_are_read(toy: Any) -> None:
    model = toy(max_position_embeddings=77)
    model.generation_config.eos_token_id = [4, 9]
    engine = HfEngine(model)
    assert engine.eos_ids == {4, 9}
    assert (engine.context_limit, engine.vocab_size) == (77, 272)
    model.generation_config.eos_token_id = None
    assert HfEngine(model).eos_ids == {271}


@pytest.mark.parametrize(
    ("family", "config", "reason"),
    [
        ("Qwen3Next", QWEN3_NEXT, "LinearAttention"),
        ("Mamba", {"state_size": 8}, "LinearAttention"),
        ("Lfm2", {"layer_types": ["conv", "full_attention"]}, "LinearAttention"),
    ],
)
def test_models_with_a_running_state_are_refused_or_run_plainly(
    toy: Any, oracle_draft: Any, byte_stream: Any, family: str, config: Any, reason: str
) -> None:
    model = toy(family, **config)
    with pytest.raises(ModelError, match=f"{family}.*{reason}") as caught:
        HfEngine(model)
    assert "without drafts" in caught.value.remedy
    engine = HfEngine(model, allow_no_drafts=True)
    assert not engine.drafts
    draft = oracle_draft([1] * 30)
    plain = answer(engine, byte_stream, Request("r", PROMPT, max_tokens=30), draft)
    assert plain.tokens == stock(model, PROMPT, 30)
    assert not plain.stats.offered


def test_other_kinds_of_models_are_refused_by_name(toy: Any) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        t5 = T5ForConditionalGeneration(
            T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
        )
    with pytest.raises(ModelError, match=r"T5.* is an encoder-decoder"):
        HfEngine(t5)
    with pytest.raises(ModelError, match=r"Rwkv.* cache of its own kind"):
        HfEngine(toy("Rwkv", attention_hidden_size=32))


@pytest.mark.parametrize("family", ["Llama", "Falcon"])
def test_a_model_that_ignores_masks_gets_chains(
    toy: Any, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model = toy(family)
    forward = model.forward

    def deaf(input_ids, position_ids=None, attention_mask=None, past_key_values=None, **rest):
        return forward(input_ids, past_key_values=past_key_values, **rest)

    monkeypatch.setattr(model, "forward", deaf)
    engine = HfEngine(model)
    assert (engine.drafts, engine.trees, engine.packed) == (True, False, False)


@pytest.mark.parametrize("part", ["scaling", "rule", "heads"])
def test_attention_that_is_not_the_models_own_is_noticed(
    toy: Any, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    attend = attention.attend

    def wrong(module, query, key, value, mask, scaling=None, **rest):
        if part == "scaling":
            scaling = 2 * scaling
        if part == "rule":
            mask.plain = True
        if part == "heads":
            query = query.flip(1)
        return attend(module, query, key, value, mask, scaling=scaling, **rest)

    model = toy("Mistral", sliding_window=4)
    assert HfEngine(model).packed
    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, wrong)
    assert not HfEngine(model).packed


def test_a_cache_that_does_not_roll_back_is_noticed(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(rows_module.DynamicCache):
        def crop(self, *_: int) -> None:
            pass

    monkeypatch.setattr(rows_module, "DynamicCache", Stuck)
    with pytest.raises(ModelError, match="logits change"):
        HfEngine(toy("Falcon"))
    assert not HfEngine(toy("Falcon"), allow_no_drafts=True).drafts


def test_the_model_keeps_its_own_attention_even_when_a_pass_fails(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy()
    engine = HfEngine(model)
    row, _ = engine.open(PROMPT, 40)
    monkeypatch.setattr(model.model.norm, "forward", None)
    with pytest.raises(TypeError):
        engine.check([row], [PROMPT], [Proposal.nothing()])
    assert model.config._attn_implementation == "sdpa"
    monkeypatch.undo()
    (verdict,) = engine.check([row], [PROMPT], [Proposal.nothing()])
    plain = model(torch.tensor(PROMPT[None])).logits[0, -1].detach().numpy()
    np.testing.assert_allclose(verdict.logits(-1), plain, atol=1e-4)


@pytest.mark.parametrize("family", ["Llama", "Falcon"])
def test_the_smallest_cache_holds_a_row(toy: Any, family: str) -> None:
    engine = HfEngine(toy(family), cache_tokens=1)
    assert engine.fits(engine.cache_tokens)


def test_a_self_check_that_fails_leaves_no_row_open(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise TypeError("no such mask")

    monkeypatch.setattr("tascel.engines.hf.rows.RowByRow._additive", fails)
    engine = HfEngine(toy("Falcon"), cache_tokens=64)
    assert (engine.packed, engine.drafts, engine.trees) == (False, True, False)
    assert engine.fits(64)
