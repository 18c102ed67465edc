"""What a request remembers as it is written is what could be said of it afresh."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft import reference
from tascel.draft.base import Proposal
from tascel.draft.kernels import copying, matching
from tascel.draft.kernels.copying import COPIED, COUNT, FIRST_PLACE, FIRST_TAIL, LAST
from tascel.draft.kernels.placing import N_TEMPLATES, copying_of, recalled_of, words_of
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import NgramDraft
from tascel.draft.trust import unknown
from tascel.types import Request

VOCABULARY, EOS = 8, 7
token = st.integers(0, VOCABULARY - 2)
prompts = st.lists(token, max_size=30)
answers = st.lists(token, max_size=15)
# what is written may be no id of the vocabulary, and even the id that stands for a slot
wild = st.lists(token | st.sampled_from([EOS, VOCABULARY, -1, 99_999]), max_size=15)
traces = st.lists(st.tuples(prompts, answers.map(lambda ids: [*ids, EOS])), max_size=6)
frozen = st.lists(st.integers(0, 1), min_size=VOCABULARY, max_size=VOCABULARY)


def ids(tokens: list[int]) -> np.ndarray:
    return np.array(tokens, np.int32)


def opened(learned: list[tuple[list[int], list[int]]], reader: Any, prompt: list[int]) -> Any:
    words = [reader.words(ids(asked)) for asked, _ in learned]
    about = [reader.about(ids(asked)) for asked, _ in learned]
    outputs = [ids(output) for _, output in learned]
    knowledge = Knowledge.of(outputs, words, about, VOCABULARY)
    draft = NgramDraft(knowledge, unknown(), reader, {EOS})
    return draft.open(Request("r", ids(prompt))), knowledge


@given(traces, prompts, wild, st.integers(0, 99))
def test_a_half_written_answer_stands_where_the_reference_does(
    toy_reader: Any,
    learned: list[tuple[list[int], list[int]]],
    prompt: list[int],
    answer: list[int],
    seed: int,
) -> None:
    reader = toy_reader(seed)
    session, knowledge = opened(learned, reader, prompt)
    words, state = reader.words(ids(prompt)), session.state
    texts = knowledge.templates.text.tolist(), knowledge.recall(reader.about(ids(prompt))).text
    for written in range(len(answer) + 1):
        if written:
            session.accept([answer[written - 1]], Proposal.nothing(), 0)
        plain, form = reference.written(words, knowledge.frozen, VOCABULARY, answer[:written])
        told = copying_of(state.desk, state.facts)
        assert told[FIRST_PLACE : FIRST_PLACE + told[COUNT]].tolist() == list(plain.places)
        assert told[FIRST_TAIL:FIRST_PLACE].tolist() == list(plain.tail)
        assert (told[COPIED], told[LAST]) == (plain.copied, plain.last)
        form = [matching.SEPARATOR, *form]
        found = [
            (int(depth), knowledge.templates.array[lo:hi].tolist())
            for depth, lo, hi in state.matches[1, : state.facts[N_TEMPLATES]]
        ]
        assert found == reference.matches(texts[0], form)
        recalled, lengths = recalled_of(state.desk, state.facts)
        assert recalled.text.tolist() == texts[1].tolist()
        assert lengths.tolist() == [
            reference.ending(texts[1][:i].tolist(), form) for i in range(len(lengths))
        ]
    for one, other in zip(words_of(state.desk, state.facts), words, strict=True):
        assert np.array_equal(one, other)


@given(prompts, wild, frozen, st.integers(0, 99))
def test_the_template_of_a_beginning_is_the_beginning_of_the_template(
    toy_reader: Any, prompt: list[int], answer: list[int], never: list[int], seed: int
) -> None:
    words, never = toy_reader(seed).words(ids(prompt)), np.array(never, np.uint8)
    whole = copying.template(words, never, VOCABULARY, ids(answer)).tolist()
    assert whole == reference.template(words, never, VOCABULARY, answer)
    for end in range(len(answer)):
        part = copying.template(words, never, VOCABULARY, ids(answer[:end])).tolist()
        assert part == whole[: len(part)]
    if all(never) and all(0 <= token < VOCABULARY for token in answer):
        assert whole == answer  # nothing is a copy


@given(prompts, answers, frozen, st.integers(0, 99))
def test_where_copies_begin_and_how_they_go_on(
    toy_reader: Any, prompt: list[int], answer: list[int], never: list[int], seed: int
) -> None:
    words, never = toy_reader(seed).words(ids(prompt)), np.array(never, np.uint8)
    pointer = np.random.default_rng(seed).normal(size=copying.POINTS).astype(np.float32)
    plain, _ = reference.written(words, never, VOCABULARY, answer)
    state, after = np.empty((2, copying.STATE), np.int32)
    copying.begin(state)
    for written in answer:
        copying.copy(words, never, VOCABULARY, state, written, after)
        state, after = after, state
    scores = np.empty(len(words.starts))
    copying.point(words, pointer, state, scores)
    assert np.allclose(scores, reference.point(words, pointer, plain), atol=1e-5)
    expected = reference.first_tokens(words, scores.tolist())
    tokens, shares = np.empty(matching.TOP, np.int32), np.empty(matching.TOP)
    n = copying.first_tokens(words, scores, tokens, shares)
    assert tokens[:n].tolist() == [token for token, _ in expected]
    assert np.allclose(shares[:n], [share for _, share in expected])
    counts = np.empty(matching.TOP, np.int32)
    n = copying.go_on(words, state, tokens, counts)
    pairs = zip(tokens[:n].tolist(), counts[:n].tolist(), strict=True)
    assert list(pairs) == reference.go_on(words, plain)
    assert copying.within_word(words, state) == reference.within_word(words, plain)
