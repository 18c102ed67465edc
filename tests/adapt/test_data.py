"""Batches: only answers are learned, padding never counts, and the order keeps lengths mixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.adapt.train.data import IGNORED, Example, SimilarLengths, collate, examples, split
from tascel.codec import Codec
from tascel.types import Trace


@pytest.fixture
def codec(toy_folder: Any) -> Codec:
    return Codec.from_pretrained(toy_folder)


def trace(prompt: str, output: str | None, split: str | None = None) -> Trace:
    answer = None if output is None else {"role": "assistant", "content": output}
    return Trace(messages=({"role": "user", "content": prompt},), answer=answer, split=split)


def test_an_example_is_prompt_and_answer_with_its_end(codec: Codec) -> None:
    (row,), too_long = examples([trace("lamp on", "ok")], codec, 100)
    ids, n = row["input_ids"], row["answer"]
    assert codec.decode(ids[-n:]) == "ok"
    assert ids[-1] == codec.end_id
    assert ids[:-n] == codec.prompt("lamp on").tolist()
    assert too_long == 0


def test_long_traces_are_counted(codec: Codec) -> None:
    rows, too_long = examples([trace("b", "x" * 200), trace("c", "y")], codec, 60)
    assert (len(rows), too_long) == (1, 1)


def test_the_limit_draws_from_answered_training_traces() -> None:
    traces = [
        trace("a", None),
        trace("v", "x", "valid"),
        trace("t", "x", "test"),
        trace("b", "x", "train"),
        trace("c", "y"),
        trace("d", "z"),
    ]
    train, held = split(traces, valid=9, limit=2)
    assert len(train) == 2
    assert {t.prompt_text for t in train} < {"b", "c", "d"}
    assert [t.prompt_text for t in held] == ["v"]
    assert split(traces, valid=0)[1] == []


def test_without_a_split_a_fold_is_held_out_whole_and_small() -> None:
    traces = [replace(trace(f"p{n}", "x"), group=str(n // 4)) for n in range(400)]
    train, held = split(traces, valid=30)
    assert 20 <= len(held) <= 30
    assert len(train) >= 360
    assert not {t.group for t in train} & {t.group for t in held}
    assert split(traces, valid=30) == (train, held)
    assert split(traces[:40], valid=30) == (traces[:40], [])


rows_ = st.lists(
    st.lists(st.integers(0, 9), min_size=2, max_size=40).flatmap(
        lambda ids: st.integers(1, len(ids) - 1).map(lambda n: Example(input_ids=ids, answer=n))
    ),
    min_size=1,
    max_size=5,
)


@given(rows_)
def test_collate_keeps_every_id_and_labels_answers_only(rows: list[Example]) -> None:
    batch = collate(rows, pad_id=2)
    width = batch["input_ids"].shape[1]
    for at, row in enumerate(rows):
        ids, n = row["input_ids"], row["answer"]
        assert batch["input_ids"][at, width - len(ids) :].tolist() == ids
        assert batch["attention_mask"][at].tolist() == [0] * (width - len(ids)) + [1] * len(ids)
        assert batch["position_ids"][at, width - len(ids) :].tolist() == [*range(len(ids))]
        labels = batch["labels"][at]
        assert labels[len(labels) - n :].tolist() == ids[-n:]
        assert set(labels[: len(labels) - n].tolist()) <= {IGNORED}
        # The first id of the answer has a column before it to be predicted from.
        assert len(labels) > n or len(labels) == width


@given(st.lists(st.integers(2, 90), min_size=1, max_size=200), st.integers(1, 9))
def test_every_example_comes_once_an_epoch(lengths: list[int], batch: int) -> None:
    rows = [Example(input_ids=[0] * n, answer=1) for n in lengths]
    order = SimilarLengths(rows, batch, seed=1)
    first = list(order)
    order.set_epoch(1)
    assert sorted(first) == sorted(order) == [*range(len(rows))]


def test_batches_are_similar_inside_and_mixed_in_order() -> None:
    rows = [Example(input_ids=[0] * (2 + i % 80), answer=1) for i in range(800)]
    order = [len(rows[i]["input_ids"]) for i in SimilarLengths(rows, 8, seed=0)]
    batches = [order[at : at + 8] for at in range(0, 800, 8)]
    inside = sum(max(b) - min(b) for b in batches) / len(batches)
    means = [sum(b) / 8 for b in batches]
    assert inside < 40
    thirds = [sum(part) / len(part) for part in (means[:33], means[33:66], means[66:])]
    assert max(thirds) - min(thirds) < 20
    assert list(SimilarLengths(rows, 8, seed=0)) == list(SimilarLengths(rows, 8, seed=0))
