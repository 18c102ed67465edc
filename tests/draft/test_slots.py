"""What is learned of copies: which ids are never copied, what templates are, where copies begin."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft import reference
from tascel.draft.kernels import copying
from tascel.draft.kernels.recalling import FULL
from tascel.draft.knowledge import RECALLED, Knowledge, nothing_recalled
from tascel.draft.reader import Reader
from tascel.draft.slots import COPIED, freeze, learn_pointer, no_words, templates, words_of
from tascel.speller import Speller

VOCABULARY = 8
token = st.integers(0, VOCABULARY - 1)
traces = st.lists(st.tuples(st.lists(token, max_size=20), st.lists(token, max_size=12)), max_size=8)


def ids(tokens: list[int]) -> np.ndarray:
    return np.array(tokens, np.int32)


@given(traces, st.integers(0, 99))
def test_frozen_ids_and_templates_are_those_of_the_reference(
    toy_reader: Any, learned: list[tuple[list[int], list[int]]], seed: int
) -> None:
    words = [toy_reader(seed).words(ids(prompt)) for prompt, _ in learned]
    outputs = [ids(output) for _, output in learned]
    frozen = freeze(words, outputs, VOCABULARY)
    plain = [output for _, output in learned]
    assert frozen.tolist() == reference.freeze(words, plain, VOCABULARY, COPIED)
    forms = templates(words, outputs, frozen)
    for form, of_prompt, output in zip(forms, words, plain, strict=True):
        assert form.tolist() == reference.template(of_prompt, frozen, VOCABULARY, output)


@given(traces, st.lists(token, max_size=20), st.integers(0, 99), st.data())
def test_what_is_recalled_are_the_neighbours_templates(
    toy_reader: Any, learned: list[tuple[list[int], list[int]]], asked: list[int], seed: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    reader = toy_reader(seed)
    words = [reader.words(ids(prompt)) for prompt, _ in learned]
    outputs = [ids(output) for _, output in learned]
    about = [reader.about(ids(prompt)) for prompt, _ in learned]
    knowledge = Knowledge.of(outputs, words, about, VOCABULARY)
    without = np.array([data.draw(st.booleans()) for _ in learned], bool)
    recalled = knowledge.recall(reader.about(ids(asked)), without)
    near, alike = knowledge.neighbours.find(reader.about(ids(asked)), 99, without)
    forms = templates(words, outputs, knowledge.frozen)
    expected = [
        (token, max(1, round(FULL * likeness)))
        for trace, likeness in zip(near.tolist(), alike.tolist(), strict=True)
        for token in (-1, *forms[trace].tolist())
    ]
    assert list(zip(recalled.text.tolist(), recalled.weight.tolist(), strict=True)) == expected
    assert not without[near].any()


def test_no_more_is_recalled_than_there_is_room_for() -> None:
    count, size = 10, RECALLED // 4
    same = [np.array([1, 2, 3], np.uint32)] * count
    outputs = [np.zeros(size, np.int32)] * count
    knowledge = Knowledge.of(outputs, [no_words()] * count, same, VOCABULARY)
    assert len(knowledge.recall(same[0]).text) == RECALLED
    assert len(knowledge.recall(np.array([9], np.uint32)).text) == 0
    assert len(nothing_recalled().weight) == 0


def test_the_pointer_learns_which_word_comes_next(tokenizer: Any) -> None:
    reader = Reader(tokenizer.backend_tokenizer)
    rng, codes = np.random.default_rng(0), "abcdefgh"

    def word() -> str:
        return "".join(rng.choice([*codes], 4))

    prompts, outputs, firsts = [], [], []
    for _ in range(200):
        names = [word() for _ in range(4)]
        prompts.append(f"take {names[0]} or {names[1]} to {names[2]} by {names[3]}")
        outputs.append(f"> {names[2]}; {names[1]}.")
        firsts.append(names[2])
    encoded = [ids(tokenizer.encode(prompt)) for prompt in prompts]
    words = [reader.words(prompt) for prompt in encoded]
    answers = [ids(tokenizer.encode(output)) for output in outputs]
    frozen = freeze(words[:150], answers[:150], len(tokenizer))
    pointer = learn_pointer(words[:150], answers[:150], frozen)
    assert np.array_equal(pointer, learn_pointer(words[:150], answers[:150], frozen))
    right = 0
    for at in range(150, 200):
        state, slot = reference.Copying(), len(frozen)
        led = ids(tokenizer.encode("> "))[:-1] if outputs[at][2] != " " else []
        for id_ in led:
            state, _ = reference.copy(words[at], frozen, slot, state, int(id_))
        likely = reference.point(words[at], pointer, state)
        place = words[at].where[int(np.argmax(likely))]
        rest = tokenizer.decode(encoded[at][place:].tolist()).strip()
        right += rest.startswith(firsts[at])
    assert right >= 45


@given(st.lists(st.integers(-5, 400) | st.integers(-(2**31), 2**31 - 1), max_size=30))
def test_any_prompt_has_words(tokenizer: Any, prompt: list[int]) -> None:
    reader = Reader(tokenizer.backend_tokenizer)
    words = reader.words(ids(prompt))
    assert words.length == len(prompt)
    assert words.traits.shape == (len(words.starts), copying.TRAITS)
    again = reader.words(ids(prompt))
    assert all(np.array_equal(a, b) for a, b in zip(words, again, strict=True))
    blind = words_of(Speller(tokenizer.backend_tokenizer), np.zeros(0, np.int32), ids(prompt))
    assert np.array_equal(blind.token, words.token)


def test_without_words_nothing_is_copied() -> None:
    none = no_words()
    outputs = [ids([1, 2, 3])] * 5
    frozen = freeze([none] * 5, outputs, VOCABULARY)
    assert frozen[1:4].all()
    (form, *_) = templates([none] * 5, outputs, frozen)
    assert form.tolist() == [1, 2, 3]
