"""Which spans of its prompt does an answer copy, and where do copies begin? Learned by counting.

`frozen` are the ids that answers write whether or not the prompt has them; every other word that an
answer shares with its prompt is taken for a copy. The pointer is a linear model over what a start
looks like and what the template said last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.draft.kernels import copying
from tascel.draft.kernels.copying import TRAITS, Words
from tascel.speller import DIGIT, SPACED, UPPER, Speller
from tascel.types import Ids

Frozen = NDArray[np.uint8]
Pointer = NDArray[np.float32]

#: An id may begin a copy if the prompt has it for at least so large a share of its uses.
COPIED = 0.3
RATE = 0.3
EPOCHS = 2
#: The pointer learns from so many answers at most: more teach little more.
TAUGHT = 4000

_count: Callable[..., None] = copying.count_copies
_template: Callable[..., Ids] = copying.template
_teach: Callable[..., None] = copying.teach


def words_of(speller: Speller, fold: Ids, prompt: Ids) -> Words:
    """A prompt's words as the kernels take them."""
    spelled = speller.words(prompt)
    where = spelled.where
    n, size = len(prompt), len(fold)
    framed = np.concatenate([[0, 0], np.where((prompt >= 0) & (prompt < size), prompt, 0), [0]])
    folded = fold[framed] if size else framed
    look = speller.looks[framed[where + 2]] if size else where
    first = spelled.token[spelled.starts]
    spaced = speller.looks[first] & SPACED if size else where
    far = np.log2(np.maximum(n - where, 1)).astype(np.int64)
    facts = [
        folded[where + 1],
        folded[where] * 65_537 + folded[where + 1],
        folded[where + 2],
        folded[spelled.after + 2],
        (look & (DIGIT | UPPER)) + spaced,
        far,
    ]
    kinds = np.arange(1, TRAITS + 1, dtype=np.int64) * 0x3C6EF372
    traits = ((np.stack(facts, axis=1) * 0x5BD1E995 + kinds) & 0x7FFFFFFF).astype(np.int32)
    return Words(spelled.token, spelled.follow, spelled.starts, first, where, traits, n)


def no_words() -> Words:
    """Of a prompt that nothing is copied from."""
    none = np.zeros(0, np.int32)
    return Words(none, none, none, none, none, np.zeros((0, TRAITS), np.int32), 0)


def freeze(words: Sequence[Words], outputs: Sequence[Ids], vocab_size: int) -> Frozen:
    """The ids that never begin a copy: u8[V]."""
    seen, copied = np.zeros((2, vocab_size), np.int64)
    for of_prompt, output in zip(words, outputs, strict=True):
        _count(of_prompt, output, seen, copied)
    return (copied + 1 < COPIED * (seen + 1)).astype(np.uint8)


def templates(words: Sequence[Words], outputs: Sequence[Ids], frozen: Frozen) -> list[Ids]:
    """Each answer with its copied spans as slots; their id is the first beyond the vocabulary."""
    slot = len(frozen)
    return [_template(w, frozen, slot, o) for w, o in zip(words, outputs, strict=True)]


def learn_pointer(words: Sequence[Words], outputs: Sequence[Ids], frozen: Frozen) -> Pointer:
    """Learn from answers to point where copies begin: f32[POINTS]."""
    weights, squares = np.zeros((2, copying.POINTS), np.float32)
    some = np.random.default_rng(0).permutation(len(outputs))[:TAUGHT]
    # only these: words may be made when they are asked for, and all would fill the memory
    pairs = [(words[at], outputs[at]) for at in map(int, some)]
    for _ in range(EPOCHS):
        for of_prompt, output in pairs:
            _teach(of_prompt, frozen, len(frozen), output, weights, squares, RATE)
    return weights
