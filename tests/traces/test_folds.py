"""Grouping of near-duplicates and folds that never split a group."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.traces.folds import folds, groups
from tascel.types import Trace

WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
PROMPTS = st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=30)


def trace(prompt: str, group: str | None = None) -> Trace:
    return Trace(messages=({"role": "user", "content": prompt},), group=group)


def partition(labels) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def test_similar_prompts_share_a_group():
    found = groups(
        [
            trace("please turn on the big lamp in the living room at 7 tonight"),
            trace("what is the capital city of the country north of Spain"),
            trace("Please turn on the big lamp in the living room at 12 tonight!"),
            trace("please turn on the big lamp in the living room tonight"),
            trace(""),
            trace("你好 世界"),
            trace(""),
        ]
    )
    assert found.tolist() == [0, 1, 0, 0, 2, 3, 2]
    assert found.dtype == np.int32


def test_given_groups_decide():
    same = "turn on the lamp in the kitchen"
    found = groups([trace(same, "a"), trace(same), trace(same, "b"), trace(same), trace("x", "a")])
    assert found.tolist() == [0, 1, 2, 1, 0]


def test_no_traces():
    assert groups([]).tolist() == []
    assert folds(groups([]), 5).tolist() == []


@settings(max_examples=50, deadline=None)
@given(prompts=PROMPTS)
def test_copies_change_nothing(prompts):
    found = groups(map(trace, prompts))
    assert found.shape == (len(prompts),)
    # Numbered in order of appearance.
    assert list(dict.fromkeys(found.tolist())) == list(range(len(set(found.tolist()))))
    for i, prompt in enumerate(prompts):
        assert found[i] == found[prompts.index(prompt)]
    twice = groups(map(trace, prompts + prompts))
    assert partition(twice[: len(prompts)]) == partition(found)
    assert np.array_equal(twice[: len(prompts)], twice[len(prompts) :])


def test_long_prompts_and_many_blocks():
    rng = np.random.default_rng(0)
    base = [" ".join(map(str, rng.integers(0, 10**9, 40).astype("U10"))) for _ in range(3)]
    text = ["".join(chr(97 + int(c)) if c.isdigit() else c for c in b) for b in base]
    found = groups([trace(text[i % 3]) for i in range(9000)])
    assert np.array_equal(found, np.arange(9000) % 3)


def test_a_shared_instruction_joins_nothing():
    instruction = "Read the command below and answer with JSON that names intent and slots. " * 4
    things = [f"{a} {b} {c}" for a in ("red", "old", "far") for b in ("den", "hall", "attic")
              for c in ("lamp", "fan", "door", "oven", "radio", "blind")]  # fmt: skip
    prompts = [f"{instruction}{verb} the {t}" for t in things for verb in ("open", "stop", "find")]
    found = groups(map(trace, prompts))
    assert np.bincount(found).max() < len(prompts) / 10
    assert np.array_equal(found, groups(map(trace, prompts)))


def test_one_huge_group_is_dealt_one_by_one():
    labels = np.array([0] * 60 + [1] * 20 + [2] * 20, np.int32)
    fold = folds(labels, 5)
    assert len(set(fold[:60].tolist())) >= 3
    assert len(set(fold[60:80].tolist())) == len(set(fold[80:].tolist())) == 1


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=40),
    k=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_folds_keep_groups_whole_and_balanced(sizes, k, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    labels = labels.astype(np.int32)
    fold = folds(labels, k, seed)
    assert fold.dtype == np.int32
    assert fold.shape == labels.shape
    assert set(fold.tolist()) <= set(range(k))
    for label in range(len(sizes)):
        if sizes[label] > sum(sizes) / 2:
            continue
        assert len(set(fold[labels == label].tolist())) == 1
    load = np.bincount(fold, minlength=k)
    assert load.max() - load.min() <= max(sizes)
    assert np.array_equal(fold, folds(labels, k, seed))
