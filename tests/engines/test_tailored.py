"""A reduced head: lossless, it answers as the whole one; fast, as one that knows nothing else."""

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
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.load import load_model, load_tailored
from tascel.engines.hf.vocabulary import Vocabulary
from tascel.errors import ModelError
from tascel.types import Request, Sampling

VOCAB = 272
FAMILIES = [
    ("Llama", {}),
    ("Llama", {"tie_word_embeddings": True, "vocab_size": 320}),  # padded: 48 ids are no tokens
    ("Gemma2", {"head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 3.0,
                "tie_word_embeddings": True}),
    ("Gemma3", {"head_dim": 8, "tie_word_embeddings": True}),
    ("Cohere2", {"logit_scale": 0.25}),
    ("Granite", {"logits_scaling": 3.0}),
    ("GPT2", {}),
    ("Phi", {}),  # its head has a bias
    ("GptOss", {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    ("Bloom", {"n_head": 4, "n_layer": 2}),  # row by row
]  # fmt: skip

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    top_k=st.sampled_from([0, 0, 5]),
    top_p=st.sampled_from([1.0, 0.9]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([1.0, 1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 2**64),
)


def tailored(model: Any, static: Any, lossless: bool = True) -> HfEngine:
    vocabulary = Vocabulary(model)
    vocabulary.settle(np.asarray(static, np.int32), lossless)
    return HfEngine(model, vocabulary=vocabulary, lossless=lossless)


def some(size: int, seed: int = 0) -> Any:
    return np.sort(np.random.default_rng(seed).choice(VOCAB, size, replace=False))


@pytest.fixture(scope="module")
def engines(toy: Any) -> Any:
    """`engines(which, size, lossless)` are the family's engine and one with `size` rows."""

    @cache
    def make(which: int, size: int, lossless: bool = True) -> tuple[HfEngine, HfEngine]:
        family, config = FAMILIES[which]
        whole = HfEngine(toy(family, **config))
        return whole, tailored(toy(family, **config), some(size), lossless)

    return make


def answers(loop: Loop, requests: list[Request], stream: Any) -> dict[str, Any]:
    """All at once, in one batch; prompts read whole."""
    running = [loop.start(request, stream()) for request in requests]
    done: dict[str, Any] = {}
    while running:
        loop.step(running)
        for answer in [answer for answer in running if answer.done]:
            assert answer.failed is None
            running.remove(answer)
            answer.close(loop.engine)
            done[answer.request.id] = answer.completion()
    return done


def requests_of(seed: int, count: int, sampling: Sampling) -> list[Request]:
    rng = np.random.default_rng(seed)
    return [
        Request(
            str(at),
            rng.integers(0, VOCAB, rng.integers(1, 12)).astype(np.int32),
            sampling,
            max_tokens=int(rng.integers(1, 24)),
        )
        for at in range(count)
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=40)
@given(
    which=st.integers(0, len(FAMILIES) - 1),
    size=st.sampled_from([1, 40, 160, VOCAB]),
    count=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    sampling=samplings,
    drafts=st.booleans(),
)
def test_a_lossless_head_answers_as_the_whole_one_does(
    engines: Any, oracle_draft: Any, byte_stream: Any, which: int, size: int, count: int,
    seed: int, sampling: Sampling, drafts: bool,
) -> None:  # fmt: skip
    whole, reduced = engines(which, size)
    requests = requests_of(seed, count, sampling)
    wanted = {r.id: complete(decode(whole, None, r, Price.free(), byte_stream())) for r in requests}

    class Oracles:
        def open(self, request: Request) -> Any:
            truth = wanted[request.id].tokens
            return oracle_draft(truth, seed, 0.6, 5, whole.trees, VOCAB).open(request)

    loop = Loop(reduced, Oracles() if drafts else None, Price.free(), habit=Habit())
    found = answers(loop, requests, byte_stream)
    assert {i: c.tokens for i, c in found.items()} == {i: c.tokens for i, c in wanted.items()}
    assert not reduced._rows._head._pins


def test_rows_that_are_missing_win_and_are_rolled_back_to(engines: Any, byte_stream: Any) -> None:
    whole, reduced = engines(0, 160)
    requests = requests_of(3, 8, Sampling())
    outside = offered = kept = steps = tokens = 0
    for request in requests:
        found = complete(decode(reduced, None, request, Price.free(), byte_stream(), habit=Habit()))
        assert (
            found.tokens
            == complete(decode(whole, None, request, Price.free(), byte_stream())).tokens
        )
        known = {*some(160).tolist(), *request.prompt.tolist()}
        outside += sum(token not in known for token in found.tokens)
        offered += found.stats.offered.get("head", 0)
        kept += found.stats.accepted.get("head", 0)
        steps += found.stats.steps
        tokens += len(found.tokens)
    assert outside > 5
    assert 0 < kept < offered
    assert steps >= tokens  # a step is a pass, and no draft saved one


def test_a_head_with_all_rows_is_never_wrong(engines: Any, byte_stream: Any) -> None:
    _, reduced = engines(0, VOCAB)
    for request in requests_of(5, 4, Sampling(temperature=0.8, seed=3)):
        stats = complete(
            decode(reduced, None, request, Price.free(), byte_stream(), habit=Habit())
        ).stats
        assert stats.offered.get("head") == stats.accepted.get("head")


class Hidden:
    """Hides what stands neither in the selection nor in the prompt."""

    def __init__(self, known: list[int]) -> None:
        self._known = known

    def __call__(self, history: Any, logits: Any) -> Any:
        kept = np.full_like(logits, -np.inf)
        kept[self._known] = logits[self._known]
        return kept


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=20)
@given(
    which=st.integers(0, len(FAMILIES) - 1),
    size=st.sampled_from([1, 40, 160]),
    seed=st.integers(0, 2**32),
    sampling=samplings,
)
def test_a_fast_head_knows_its_rows_and_the_prompts_alone(
    engines: Any, byte_stream: Any, which: int, size: int, seed: int, sampling: Sampling
) -> None:
    whole, reduced = engines(which, size, False)
    assert reduced.rough is None
    requests = requests_of(seed, 3, sampling)
    found = answers(Loop(reduced, None, Price.free(), habit=Habit()), requests, byte_stream)
    for request in requests:
        known = sorted({*some(size).tolist(), *request.prompt.tolist()})
        masked = Request(
            request.id, request.prompt, sampling, max_tokens=request.max_tokens,
            processors=lambda known=known: [Hidden(known)],
        )  # fmt: skip
        wanted = complete(decode(whole, None, masked, Price.free(), byte_stream()))
        assert found[request.id].tokens == wanted.tokens


def test_what_the_head_offers_teaches_no_draft(engines: Any, byte_stream: Any) -> None:
    class Silent:
        def open(self, request: Request) -> Any:
            return self

        def propose(self, room: int, price: Any, pending: int = 1) -> Any:
            from tascel.draft.base import Proposal

            return Proposal.nothing()

        def accept(self, tokens: Any, offered: Any, taken: int) -> None:
            from tascel.decode.walk import ours

            assert not ours(offered).any()

        def close(self) -> None: ...

    class Strict(Breaker):
        def record(self, *_: Any, **__: Any) -> None:
            raise AssertionError

    _, reduced = engines(0, 160)
    (request,) = requests_of(1, 1, Sampling())
    run = decode(
        reduced, Silent(), request, Price.free(), byte_stream(), Strict(Price.free()), Habit()
    )
    assert complete(run).stats.offered["head"]


def test_plain_decoding_does_not_run_ahead(engines: Any, byte_stream: Any) -> None:
    _, reduced = engines(0, 160)
    (request,) = requests_of(1, 1, Sampling())
    run = decode(reduced, None, request, Price.free(), byte_stream())
    assert not complete(run).stats.offered


def test_outside_our_passes_the_model_is_whole(toy: Any) -> None:
    model, ids = toy("Gemma3", head_dim=8), torch.tensor([[5, 6, 7, 200]])
    with torch.inference_mode():
        wanted = model(ids).logits
        engine = tailored(model, some(30))
        torch.testing.assert_close(model(ids).logits, wanted)
    assert engine.vocab_size == VOCAB


@pytest.mark.parametrize("saved", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_loading_converts_rows_and_not_the_matrices(
    toy: Any, tmp_path: Any, saved: str, dtype: str
) -> None:
    toy("Llama").to(getattr(torch, saved)).save_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7, 200]])
    wanted = load_model(tmp_path, dtype=dtype)
    found, vocabulary = load_tailored(tmp_path, some(30).astype(np.int32), True, dtype=dtype)
    assert found.dtype == wanted.dtype
    for table in vocabulary.tables:
        assert table.bytes == VOCAB * 32 * getattr(torch, saved).itemsize
    assert vocabulary.head.bytes < (30 + 520) * 32 * 4
    assert 271 in vocabulary.head.static  # the end id
    with torch.inference_mode():
        torch.testing.assert_close(found(ids).logits, wanted(ids).logits, atol=0.02, rtol=0.02)


def test_scaled_embeddings_are_read_in_the_dtype_asked_for(toy: Any, tmp_path: Any) -> None:
    toy("Gemma3", head_dim=8).to(torch.bfloat16).save_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7, 200]])
    wanted = load_model(tmp_path, dtype="float32")
    found, _ = load_tailored(tmp_path, some(30).astype(np.int32), True, dtype="float32")
    with torch.inference_mode():
        torch.testing.assert_close(found(ids).logits, wanted(ids).logits)


def test_a_model_whose_head_is_not_plain_is_refused(toy: Any) -> None:
    model = toy("Llama")
    model.set_output_embeddings(torch.nn.Sequential(model.lm_head))
    with pytest.raises(ModelError, match="LlamaForCausalLM cannot be tailored") as caught:
        Vocabulary(model)
    assert "--head full" in caught.value.remedy


def test_slots_are_pinned_while_a_request_is_open(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tascel.engines.hf.head.SPARE", 4)
    model = toy("Llama")
    weight = model.lm_head.weight.detach().clone()
    vocabulary = Vocabulary(model)
    vocabulary.settle(np.array([10, 20], np.int32), True)
    head = vocabulary.head

    def holds() -> dict[int, int]:
        for slot, id_ in enumerate(head.ids[: head.used].tolist()):
            torch.testing.assert_close(head._matrix[slot], weight[id_])
        assert sorted(head.ids[head.order].tolist()) == head.ids[head.order].tolist()
        return {id_: slot for slot, id_ in enumerate(head.ids[: head.used].tolist())}

    first = head.join([5, 10, 6, 6], pinned=True)
    assert len(first) == 2  # static ids need none
    for id_ in (30, 31, 32, 33):  # the two spare slots pass from one to the next
        head.join([id_], pinned=False)
    assert {*holds()} == {5, 6, 10, 20, 32, 33}
    second = head.join([5, *range(100, 106)], pinned=True)  # more than there are: it grows
    assert {5, 6, *range(100, 106)} <= {*holds()}
    assert all(head.ids[slot] in (5, *range(100, 106)) for slot in second)
    head.leave(first)
    assert {*head._pins} == {5, *range(100, 106)}
    head.leave(second)
    assert not head._pins
