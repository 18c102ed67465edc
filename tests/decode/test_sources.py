"""What a request may bring along: a prediction, biases, processors, and log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.decode.answer import logprobs
from tascel.decode.loop import complete, decode
from tascel.draft.price import Price
from tascel.errors import ModelError, RequestError
from tascel.types import Completion, Request, Sampling

PROMPT = np.array([1, 2, 3], np.int32)
PRICE = Price.from_points({1: 1.0, 33: 1.6})


def answer(engine: Any, stream: Any, draft: Any = None, **fields: Any) -> Completion:
    request = Request("r", PROMPT, **{"max_tokens": 60, **fields})
    return complete(decode(engine, draft, request, PRICE, stream()))


@given(st.integers(0, 99), st.booleans(), st.booleans(), st.booleans())
def test_a_prediction_changes_speed_alone(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any,
    seed: int, drafted: bool, trees: bool, sampled: bool,
) -> None:  # fmt: skip
    sampling = Sampling(temperature=float(sampled), seed=seed)
    plain = answer(fake_engine(), byte_stream, sampling=sampling)
    rng = np.random.default_rng(seed)
    predicted = np.array(plain.tokens, np.int32)
    predicted[rng.random(len(predicted)) < 0.1] = rng.integers(-5, 60)  # ids of nobody, too
    draft = oracle_draft(plain.tokens, seed=seed) if drafted else None
    engine = fake_engine(trees=trees)
    got = answer(engine, byte_stream, draft, sampling=sampling, prediction=predicted)
    assert got.tokens == plain.tokens
    assert got.stats.accepted["prediction"] > 0
    assert got.stats.steps < plain.stats.steps
    assert all(proposal.is_chain for proposal in engine.passes) or trees


def test_a_right_prediction_is_the_answer_in_few_passes(fake_engine: Any, byte_stream: Any) -> None:
    plain = answer(fake_engine(), byte_stream)
    predicted = np.array(plain.tokens, np.int32)
    got = answer(fake_engine(), byte_stream, prediction=predicted)
    assert got.stats.accepted == got.stats.offered == {"prediction": 60 - got.stats.steps}
    assert got.stats.steps <= 6


def test_an_empty_prediction_is_none(fake_engine: Any, byte_stream: Any) -> None:
    empty = answer(fake_engine(), byte_stream, prediction=np.zeros(0, np.int32))
    assert empty.tokens == answer(fake_engine(), byte_stream).tokens


def test_a_bias_forbids_and_forces(fake_engine: Any, byte_stream: Any) -> None:
    plain = answer(fake_engine(), byte_stream)
    first = plain.tokens[0]
    without = answer(fake_engine(), byte_stream, sampling=Sampling(logit_bias=((first, -100.0),)))
    assert first not in without.tokens
    forced = answer(fake_engine(), byte_stream, sampling=Sampling(logit_bias=((7, 100.0),)))
    assert set(forced.tokens) == {7}
    with pytest.raises(RequestError, match="biased id"):
        answer(fake_engine(), byte_stream, sampling=Sampling(logit_bias=((40, 1.0),)))


class Once:
    """A processor with a state: forbids whatever was written, and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, history: np.ndarray, logits: np.ndarray) -> np.ndarray:
        self.calls.append(len(history))
        logits[history[len(PROMPT) :]] = -np.inf
        return logits


def test_processors_are_called_once_a_token_in_order(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    made: list[Once] = []

    def make() -> list[Once]:
        made.append(Once())
        return made[-1:]

    plain = answer(fake_engine(), byte_stream, processors=make, max_tokens=30)
    assert len(set(plain.tokens)) == 30
    draft = oracle_draft(plain.tokens, skill=0.7)
    got = answer(fake_engine(), byte_stream, draft, processors=make, max_tokens=30)
    assert got.tokens == plain.tokens
    assert sum(got.stats.accepted.values()) > 3
    assert [once.calls for once in made] == [list(range(3, 33))] * 2
    with pytest.raises(ModelError, match="refuse every one"):
        answer(fake_engine(), byte_stream, processors=make, max_tokens=50)


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=30), st.integers(0, 40))
def test_log_probabilities_are_those_of_the_softmax(values: list[float], top: int) -> None:
    logits = np.array(values, np.float32)
    exact = logits - np.logaddexp.reduce(logits.astype(np.float64))
    got = logprobs(logits, 1, top)
    assert got.token == pytest.approx(exact[1])
    assert len(got.top) == min(top, len(values))
    assert [p for _, p in got.top] == pytest.approx(sorted(exact, reverse=True)[: len(got.top)])
    assert all(p == pytest.approx(exact[id_]) for id_, p in got.top)


def test_log_probabilities_do_not_depend_on_drafts(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    sampling = Sampling(temperature=0.8, seed=2, presence_penalty=1.0)
    plain = answer(fake_engine(), byte_stream, sampling=sampling, logprobs=3)
    assert len(plain.logprobs) == 60
    draft = oracle_draft(plain.tokens, tree=True)
    got = answer(fake_engine(), byte_stream, draft, sampling=sampling, logprobs=3)
    assert got.logprobs == plain.logprobs
    assert sum(got.stats.accepted.values()) > 3
    assert answer(fake_engine(), byte_stream).logprobs == ()
