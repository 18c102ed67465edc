"""The picking rule against transformers' processors, and its samples against the softmax."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.decode import answer
from tascel.decode.loop import complete, decode
from tascel.decode.pick import Picker, gumbel, penalise, survivors
from tascel.draft.price import Price
from tascel.errors import ModelError
from tascel.types import Request, Sampling


class Verdict:
    def __init__(self, logits: Any) -> None:
        self.row = np.asarray(logits, np.float32)

    def argmax(self, node: int) -> int:
        return int(self.row.argmax())

    def logits(self, node: int) -> Any:
        return self.row.copy()


def softmax(scores: Any) -> Any:
    weights = np.exp(np.asarray(scores, np.float64) - np.max(scores))
    return weights / weights.sum()


def transformers_scores(logits: Any, sampling: Sampling, ids: list[int]) -> Any:
    import torch
    from transformers.generation import logits_process as hf

    chain = [
        hf.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        hf.TemperatureLogitsWarper(sampling.temperature),
        *([hf.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []),
        *([hf.TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []),
        *([hf.MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []),
    ]
    scores = torch.tensor(logits)[None]
    for processor in chain:
        scores = processor(torch.tensor([ids]), scores)
    return scores[0].numpy()


@given(
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from([0.2, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 4, 50, 99]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
    penalty=st.sampled_from([1.0, 1.2, 0.7]),
)
def test_processing_is_that_of_transformers(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float, penalty: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=50) * 4).astype(np.float32)
    prompt, history = rng.integers(0, 50, 6).astype(np.int32), rng.integers(0, 50, 5).tolist()
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty=penalty)
    expected = transformers_scores(logits, sampling, [*prompt.tolist(), *history])
    mine = logits.copy()
    penalise(mine, sampling, np.unique(prompt), history)
    ids, scores = survivors(mine, sampling)
    assert ids.tolist() == np.flatnonzero(np.isfinite(expected)).tolist()
    np.testing.assert_allclose(softmax(scores), softmax(expected[ids]), rtol=1e-4, atol=1e-7)


def test_presence_and_frequency_count_the_output_only() -> None:
    logits = np.zeros(6, np.float32)
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    penalise(logits, sampling, np.array([0, 1], np.int32), [1, 2, 2, 2])
    assert logits.tolist() == [0, -0.75, -1.25, 0, 0, 0]


def test_ties_at_a_threshold_all_stay_and_the_best_always_stays() -> None:
    logits = np.array([1, 3, 3, 3, 0, -np.inf], np.float32)
    for sampling in (Sampling(1.0, top_k=1), Sampling(1.0, top_p=1e-9), Sampling(1.0, min_p=0.99)):
        assert survivors(logits, sampling)[0].tolist() == [1, 2, 3]
    assert survivors(logits, Sampling(1.0))[0].tolist() == [0, 1, 2, 3, 4]
    assert survivors(logits, Sampling(1e-320))[0].tolist() == [1, 2, 3]


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    verdict, prompt = Verdict([0, 2, 2, 1]), np.array([3], np.int32)
    assert Picker(Request("r", prompt, Sampling())).pick(verdict, -1, []) == 1
    assert Picker(Request("r", prompt, Sampling(presence_penalty=0.1))).pick(verdict, -1, []) == 1
    assert Picker(Request("r", prompt, Sampling(presence_penalty=0.1))).pick(verdict, -1, [1]) == 2


def test_logits_that_are_no_numbers_are_reported() -> None:
    picker = Picker(Request("r", np.array([0], np.int32), Sampling(temperature=1.0)))
    with pytest.raises(ModelError, match="not numbers"):
        picker.pick(Verdict([0, np.nan]), -1, [])


def test_noise_is_a_function_of_seed_position_and_id() -> None:
    ids = np.arange(1000)
    noise = gumbel(3, 5, ids)
    np.testing.assert_array_equal(noise[[7, 900]], gumbel(3, 5, np.array([7, 900])))
    for other in (
        gumbel(4, 5, ids),
        gumbel(3, 6, ids),
        gumbel(5, 3, ids),
        gumbel(3 + 2**40, 5, ids),
    ):
        assert abs(np.corrcoef(noise, other)[0, 1]) < 0.1
        assert not np.isin(noise, other).any()


def test_noise_is_pinned_so_that_seeds_keep_their_meaning() -> None:
    np.testing.assert_allclose(gumbel(1, 2, np.array([0, 1, 50_000])), PINNED, rtol=1e-12)


PINNED = [1.2633234731297545, -0.5290682547161445, 0.9544976637697932]


@pytest.mark.parametrize("axis", ["seed", "position", "id"])
def test_noise_is_gumbel_along_every_axis(axis: str) -> None:
    n = 20_000
    if axis == "id":
        noise = gumbel(0, 0, np.arange(n))
    elif axis == "seed":
        noise = np.concatenate([gumbel(seed, 3, np.array([11])) for seed in range(n)])
    else:
        noise = np.concatenate([gumbel(0, at, np.array([11])) for at in range(n)])
    uniform = np.exp(-np.exp(-noise))
    counts = np.histogram(uniform, 50, (0, 1))[0]
    assert chi_square(counts, np.full(50, 1 / 50)) < 4
    assert abs(np.corrcoef(uniform[1:], uniform[:-1])[0, 1]) < 4 / np.sqrt(n)


def test_a_fresh_seed_for_each_request() -> None:
    verdict, prompt = Verdict(np.zeros(50_000)), np.array([3], np.int32)
    picks = {
        Picker(Request("r", prompt, Sampling(temperature=1.0))).pick(verdict, -1, [])
        for _ in range(8)
    }
    assert len(picks) > 1
    fixed = {
        Picker(Request("r", prompt, Sampling(temperature=1.0, seed=9))).pick(verdict, -1, [])
        for _ in "ab"
    }
    assert len(fixed) == 1


def chi_square(counts: Any, expected: Any) -> float:
    """Pearson's statistic in standard deviations above its mean (Wilson and Hilferty, 1931)."""
    counts, expected = np.asarray(counts, np.float64), np.asarray(expected, np.float64)
    mean = expected * counts.sum()
    statistic = ((counts - mean) ** 2 / mean).sum()
    freedom = len(counts) - 1
    spread = 2 / (9 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


def pair_deviation(engine_type: Any, draft_type: Any, stream: Any) -> float:
    """How far the first two sampled tokens are from the model's joint distribution, drafts on."""
    engine, size, prompt = engine_type(vocab_size=5, order=2, spread=0.8), 5, [1, 2]
    settings = {"temperature": 1.3}
    first = softmax(engine.logits_after(prompt) / 1.3)
    second = [softmax(engine.logits_after([*prompt, a]) / 1.3) for a in range(size)]
    counts: Counter[tuple[int, ...]] = Counter()
    draft = draft_type([2, 4, 0], seed=1, skill=0.7, width=4, vocab_size=size)
    draft.accept = lambda tokens, offered, taken: None
    for seed in range(3000):
        sampling = Sampling(seed=seed, **settings)
        request = Request("r", np.array(prompt, np.int32), sampling, max_tokens=2)
        counts[complete(decode(engine, draft, request, Price.free(), stream())).tokens] += 1
    pairs = [(a, b) for a in range(size) for b in range(size)]
    return chi_square([counts[p] for p in pairs], [first[a] * second[a][b] for a, b in pairs])


def test_samples_follow_the_model_with_drafts_on(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    assert pair_deviation(fake_engine, oracle_draft, byte_stream) < 4


def test_a_biased_sampler_fails_the_same_test(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control, a common mistake: accept a drafted token with its probability, and draw from the
    whole distribution instead of the residual when it is refused."""
    rng = np.random.default_rng(0)

    def biased(offered: Any, pick: Callable[[int], int]) -> Any:
        node = -1
        while True:
            below = np.flatnonzero(offered.parents == node)
            picked = pick(node)
            if below.size and rng.random() < 0.25:
                picked = int(offered.tokens[below[0]])
            match = [child for child in below if offered.tokens[child] == picked]
            node = int(match[0]) if match else -1
            yield picked, node
            if node < 0:
                return

    monkeypatch.setattr(answer, "walk", biased)
    assert pair_deviation(fake_engine, oracle_draft, byte_stream) > 8
