"""Which new tokens a task gets, and the curve that says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tascel.adapt.tokens.choose import LEAST_USES, Choice, choose
from tascel.adapt.tokens.cost import row_cost
from tascel.adapt.tokens.curve import curve, numbered, renyi2, uses, without_rare
from tascel.codec import Codec
from tascel.errors import ModelError, TraceError
from tascel.types import Trace

ROOMS = ("kitchen", "cellar", "attic", "porch")


def anything(run: tuple[int, ...]) -> str | None:
    return None


def trace(prompt: str, output: str | None) -> Trace:
    answer = None if output is None else {"role": "assistant", "content": output}
    return Trace(({"role": "user", "content": prompt},), answer)


def lights(count: int) -> list[Trace]:
    return [
        trace(f"{ROOMS[i % 4]} to {i}", f'{{"room": "{ROOMS[i % 4]}", "level": {i % 97}}}')
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def codec(tokenizer: Any) -> Codec:
    return Codec.from_tokenizer(tokenizer)


def chosen(codec: Codec, traces: Sequence[Trace], size: int | None, cost: float = 0.001) -> Choice:
    return choose(traces, codec, anything, size, cost)


def test_as_many_as_asked(codec: Codec) -> None:
    choice = chosen(codec, lights(200), 6)
    assert len(choice.runs) == len(choice.uses) == 6
    assert choice.note is None
    assert choice.shortest <= choice.longest < choice.base / 2
    answers = np.concatenate([codec.answer(t) for t in lights(200)])
    assert choice.base == len(answers)
    saved = sum(n * (len(run) - 1) for run, n in zip(choice.runs, choice.uses, strict=True))
    assert saved == choice.base - choice.shortest
    assert codec.end_id not in {id_ for run in choice.runs for id_ in run}


def test_the_curve_is_told_on_others_than_it_was_mined_from(codec: Codec) -> None:
    choice = chosen(codec, lights(200), 12)
    assert [point.rows for point in choice.curve] == [0, 10, 12]
    first, last = choice.curve[0], choice.curve[-1]
    assert first.time == 1.0
    assert 0 < first.tokens < choice.base / 2  # a fold
    assert last.tokens < first.tokens
    assert last.time == pytest.approx(last.tokens / first.tokens * (1 + 12 * 0.001))
    assert last.renyi2 != first.renyi2


def test_auto_takes_as_many_as_pay_and_none_that_is_rare(codec: Codec) -> None:
    choice = chosen(codec, lights(400), None)
    assert choice.asked is None
    assert min(choice.uses) >= LEAST_USES
    assert len(choice.runs) > 10
    dear = chosen(codec, lights(400), None, cost=0.02)
    assert 3 < len(dear.runs) <= min(dear.curve, key=lambda point: point.time).rows == 10


def test_fewer_frequent_ngrams_than_asked_for(codec: Codec) -> None:
    choice = chosen(codec, [trace(f"say {i}", "abc") for i in range(9)], 500)
    assert len(choice.runs) == 1
    assert choice.note is not None
    assert "only 1 frequent n-grams" in choice.note
    assert "500 were asked for" in choice.note


@pytest.mark.parametrize("size", [None, 20])
def test_nothing_to_gain(codec: Codec, size: int | None) -> None:
    for outputs in (["y", "n", "y"], ["abcd"], [""]):
        choice = chosen(codec, [trace(f"ask {i}", o) for i, o in enumerate(outputs)], size)
        assert choice.runs == []
        assert choice.note is not None
        assert "nothing to gain" in choice.note
        assert choice.base == choice.shortest == choice.longest
    assert chosen(codec, lights(50), 0).note is None


def test_without_answers_there_is_nothing_to_mine(codec: Codec) -> None:
    with pytest.raises(TraceError, match="no trace has an answer"):
        chosen(codec, [trace("hello", None)], 5)


def test_refusals_are_passed_on(codec: Codec) -> None:
    choice = choose(lights(100), codec, lambda run: "the tokenizer's", 5, 0.001)
    assert choice.runs == []
    assert choice.reasons.most_common(1)[0][0] == "the tokenizer's"


def test_curve_of_no_runs_is_one_point() -> None:
    text = np.array([1, 2, 3], np.int32)
    (point,) = curve([], text, text, 10, 0.1, 1)
    assert (point.rows, point.tokens, point.time, point.rare) == (0, 3, 1.0, 0)


def test_rare_tokens_go_and_others_do_their_work() -> None:
    text = np.array([1, 2, 3, 9] * 5 + [1, 2, 9], np.int32)
    runs = [(1, 2), (1, 2, 3), (3, 9)]
    assert uses(3, numbered(runs, 10).shorten(text), 10).tolist() == [1, 5, 0]
    assert without_rare(runs, text, 10, 1) == [(1, 2), (1, 2, 3)]
    assert without_rare(runs, text, 10, 5) == [(1, 2, 3)]
    assert without_rare(runs, text, 10, 7) == []


def test_renyi_entropy_is_that_of_as_many_equal_tokens() -> None:
    assert renyi2(np.arange(8, dtype=np.int32)) == pytest.approx(3.0)
    assert renyi2(np.array([4, 4, 4], np.int32)) == 0.0
    assert renyi2(np.array([], np.int32)) == 0.0


def test_a_row_costs_its_width_of_what_a_step_reads(toy: Any, tmp_path: Path) -> None:
    for tied in (True, False):
        model = toy("Llama", tie_word_embeddings=tied)
        model.config.save_pretrained(tmp_path)
        head, inputs = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        read = sum(p.numel() for p in model.parameters()) - (0 if tied else inputs.numel())
        assert row_cost(tmp_path) == pytest.approx(head.shape[1] / read)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing-known"}))
    with pytest.raises(ModelError, match="no size can be told"):
        row_cost(tmp_path)
