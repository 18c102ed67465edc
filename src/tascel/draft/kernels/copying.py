"""Which words of its prompt does an answer copy?

An answer's *template* is the answer with every span that it copies from its prompt written as one
SLOT. Templates repeat where answers do not. Copies are found from the left, a token at a time, so
that an answer half written has the template that it will have when it is done.
"""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tascel.compiled import kernel, part
from tascel.draft.kernels.matching import SEPARATOR, TOP, Ints

NOTHING = -3  # no token of a template: a span goes on
SPANS = 8  # places of the prompt that a copy may stand at, at once
TAIL = 4  # last tokens of the template that a copy's start is guessed by
#: A copy's state, i32[STATE]: how many places it may stand at, how many tokens it has copied, the
#: prompt's token behind the last one copied (-1: none yet), the template's tail, those places.
COUNT, COPIED, LAST, FIRST_TAIL = 0, 1, 2, 3
FIRST_PLACE = FIRST_TAIL + TAIL
STATE = FIRST_PLACE + SPANS

TRAITS = 6
POINTS = 1 << 16
SPREAD = np.uint64(0x9E3779B97F4A7C15)
RELATIONS = np.array([-8, -3, 0, 1, 2, 3, 5, 9], np.int64)


class Words(NamedTuple):
    """A prompt of `length` tokens as an answer may spell it: see `speller.Spelled`. `traits` i32[W,
    TRAITS] says what each start looks like, hashed; `first` i32[W] are the starts' tokens, which
    are looked through again and again."""

    token: Ints
    follow: Ints
    starts: Ints
    first: Ints
    where: Ints
    traits: Ints
    length: int


@part
def begin(state: Any) -> None:
    """Nothing written, nothing copied."""
    state[:] = -1
    state[COUNT] = state[COPIED] = 0
    state[FIRST_TAIL + TAIL - 1] = SEPARATOR


@part
def copy(words: Words, frozen: Any, slot: Any, state: Any, token: Any, out: Any) -> int:
    """The `state` after `token`, to `out`; returns what the template gets: the token, the `slot` of
    a span that begins with it, or NOTHING where it continues one."""
    for i in range(STATE):
        out[i] = state[i]
    count = 0
    went_on = False
    for i in range(FIRST_PLACE, FIRST_PLACE + state[COUNT]):
        place = state[i]
        if words.token[place] == token:
            went_on = True
            count = _stand(words, out, count, words.follow[place])
    if went_on:
        out[COUNT] = count
        out[COPIED] += 1
        return NOTHING
    if token < 0 or token >= len(frozen) or not frozen[token]:
        for w in range(len(words.first) if _begins(words, token) else 0):
            if words.first[w] == token:
                if not went_on:
                    out[LAST] = words.where[w] + 1
                went_on = True
                count = _stand(words, out, count, words.follow[words.starts[w]])
    out[COUNT] = count
    out[COPIED] = 1 if went_on else 0
    added = slot if went_on else token
    for i in range(FIRST_TAIL, FIRST_PLACE - 1):
        out[i] = out[i + 1]
    out[FIRST_PLACE - 1] = added
    return added


@part
def _begins(words, token):
    """Whether any start's token is `token`. No early end: so it is a few vector operations."""
    found = 0
    for first in words.first:
        found += first == token
    return found > 0


@part
def _stand(words, state, count, place):
    """Note one more place that the copy may stand at."""
    if place < 0 or count == SPANS:
        return count
    for i in range(count):
        if state[FIRST_PLACE + i] == place:
            return count
    state[FIRST_PLACE + count] = place
    if count == 0 and place < words.length:
        state[LAST] = place
    return count + 1


@kernel
def template(words: Words, frozen: Any, slot: Any, output: Ints) -> Any:
    """The template of a whole answer."""
    state, after = np.empty(STATE, np.int32), np.empty(STATE, np.int32)
    out = np.empty(len(output), np.int32)
    n = 0
    begin(state)
    for token in output:
        added = copy(words, frozen, slot, state, token, after)
        state, after = after, state
        if added != NOTHING:
            out[n] = added
            n += 1
    return out[:n].copy()


@kernel
def count_copies(words: Words, output: Ints, seen: Any, copied: Any) -> None:
    """Count each token of an answer that goes on no copy in `seen`, and in `copied` if one may
    begin with it."""
    state, after = np.empty(STATE, np.int32), np.empty(STATE, np.int32)
    free, slot = np.empty(0, np.uint8), np.int64(len(seen))
    begin(state)
    for token in output:
        added = copy(words, free, slot, state, token, after)
        state, after = after, state
        if added != NOTHING and 0 <= token < len(seen):
            seen[token] += 1
            copied[token] += added == slot


@part
def go_on(words: Words, state: Any, tokens: Any, counts: Any) -> int:
    """How an open span may go on: up to TOP tokens with the number of places that say so."""
    found = 0
    for i in range(FIRST_PLACE, FIRST_PLACE + state[COUNT]):
        token = words.token[state[i]]
        place = 0
        while place < found and tokens[place] != token:
            place += 1
        if place == TOP:
            continue
        if place == found:
            tokens[place], counts[place] = token, 0
            found += 1
        counts[place] += 1
    return found


@part
def within_word(words: Words, state: Any) -> bool:
    """Whether an open span stands inside a respelled word, or is certain to be followed there."""
    return state[COUNT] > 0 and state[FIRST_PLACE] >= words.length


@part
def point(words: Words, weights: Any, state: Any, scores: Any) -> None:
    """How likely a copy that begins here begins at each start: f64[W], adding up to 1."""
    near, wide = _tails(state)
    highest = -np.inf
    for w in range(len(words.first)):
        relation = _relation(words, state, w)
        total = weights[_clue(near, relation)] + weights[_clue(wide, relation)]
        for t in range(TRAITS):
            trait = words.traits[w, t]
            total += weights[_clue(near, trait)] + weights[_clue(wide, trait)]
        scores[w] = total
        highest = max(highest, total)
    total = 0.0
    for w in range(len(words.first)):
        scores[w] = np.exp(scores[w] - highest)
        total += scores[w]
    for w in range(len(words.first)):
        scores[w] /= total


@part
def _tails(state):
    """The template's last two tokens, and its last TAIL, as numbers."""
    near, wide = np.uint64(1), np.uint64(2)
    for i in range(TAIL):
        token = np.uint64(state[FIRST_TAIL + i] + 7)
        wide = (wide ^ token) * SPREAD
        wide ^= wide >> np.uint64(29)
        if i >= TAIL - 2:
            near = (near ^ token) * SPREAD
            near ^= near >> np.uint64(29)
    return near, wide


@part
def _relation(words, state, w):
    """How far a start is from where the last copy ended, as a trait."""
    if state[LAST] < 0:
        return np.int32(-1)
    far = words.where[w] - state[LAST]
    step = 0
    while step < len(RELATIONS) and far >= RELATIONS[step]:
        step += 1
    return np.int32(-2 - step)


@part
def _clue(tail, trait):
    """Where the weight of a trait at a tail stands."""
    return np.int64(((tail ^ np.uint64(np.uint32(trait))) * SPREAD) >> np.uint64(48))


@part
def first_tokens(words: Words, scores: Any, tokens: Any, shares: Any) -> int:
    """The likeliest first tokens of a copy, at most TOP, likeliest first; starts that spell the
    same add up. `scores` are used up."""
    found = 0
    while found < TOP:
        best, at = 0.0, -1
        for w in range(len(words.first)):
            if scores[w] > best:
                best, at = scores[w], w
        if at < 0:
            break
        token = words.first[at]
        total = 0.0
        for w in range(len(words.first)):
            if words.first[w] == token:
                total += scores[w]
                scores[w] = 0.0
        total = round(total, 9)  # all of them are 1, in whatever order they add up
        place = found
        while place > 0 and shares[place - 1] < total:
            tokens[place], shares[place] = tokens[place - 1], shares[place - 1]
            place -= 1
        tokens[place], shares[place] = token, total
        found += 1
    return found


@kernel
def teach(
    words: Words, frozen: Any, slot: Any, output: Ints, weights: Any, squares: Any, rate: float
) -> None:
    """One gradient step (Adagrad) on each copy of an answer: the right starts are those that can
    be copied furthest."""
    n = len(words.starts)
    state, after = np.empty(STATE, np.int32), np.empty(STATE, np.int32)
    scores, right = np.empty(n, np.float64), np.empty(n, np.int64)
    begin(state)
    for p in range(len(output)):
        added = copy(words, frozen, slot, state, output[p], after)
        if added == slot:
            longest = _reach(words, output, p, right)
            point(words, weights, state, scores)
            tails = _tails(state)
            total = 0.0
            for w in range(n):
                if right[w] == longest:
                    total += scores[w]
            for w in range(n):
                error = scores[w]
                if right[w] == longest:
                    error -= scores[w] / max(total, 1e-30)
                if abs(error) < 1e-3:
                    continue
                relation = _relation(words, state, w)
                for tail in tails:
                    _blame(weights, squares, _clue(tail, relation), error, rate)
                    for trait in words.traits[w]:
                        _blame(weights, squares, _clue(tail, trait), error, rate)
        state, after = after, state


@part
def _blame(weights, squares, at, error, rate):
    squares[at] += error * error
    weights[at] -= rate * error / np.sqrt(squares[at] + 0.01)


@part
def _reach(words, output, p, out):
    """How many tokens of the answer from `p` on each start copies: to `out`; returns the most."""
    longest = 0
    for w in range(len(words.first)):
        if words.first[w] != output[p]:
            out[w] = 0
            continue
        place, q = words.starts[w], p
        while place >= 0 and q < len(output) and words.token[place] == output[q]:
            place = words.follow[place]
            q += 1
        out[w] = q - p
        longest = max(longest, q - p)
    return longest
