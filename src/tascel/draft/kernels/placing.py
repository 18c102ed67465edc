"""Where an answer stands in all that may know how it goes on, and where after one more token.

A *place* is a row of `Places`: an answer as it is written, or a node of a draft.
"""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import kernel, part, piece
from tascel.draft.kernels.copying import NOTHING, STATE, TRAITS, Words, begin, copy
from tascel.draft.kernels.matching import (
    MATCHES,
    OCCURRENCES,
    SEPARATOR,
    Index,
    Ints,
    advance,
    advance_spread,
    extend_context,
    follow_occurrences,
    occurrences,
    spread,
)
from tascel.draft.kernels.recalling import (
    SORTED,
    Recalled,
    extend_recalled,
    follow_recollections,
    recollections,
)

ORDERS = 3  # corpus matches that are looked at: the longest, then each at least twice as wide
TEMPLATES = 2  # and so many of the templates'
CARRIED = 5  # matches of each that a drafted node carries along


class Sources(NamedTuple):
    """What a task's traces taught. `index` is of the outputs, `templates` of their templates, in
    which `slot` stands for a copied span; an id that is `frozen` u8[V] never begins one; `pointer`
    f32[POINTS] knows where copies begin."""

    index: Index
    templates: Index
    slot: int
    frozen: NDArray[np.uint8]
    pointer: NDArray[np.float32]


class Asked(NamedTuple):
    """A request: its `matches`, `facts`, `context` (prompt and answer so far) with its `lengths`,
    the state of `copying`, its prompt's `words`, and what similar prompts got, with how much of it
    the template's ending equals."""

    matches: NDArray[np.int64]
    facts: NDArray[np.int64]
    context: Ints
    lengths: Ints
    copying: Ints
    words: Words
    recalled: Recalled
    of_recalled: Ints


class Places(NamedTuple):
    """N places. `matches` and `templates` i64[N, _, 3], `occurrences` and `recollections`
    i64[N, _, 2], of which the first n hold; `copying` i32[N, STATE]."""

    n_matches: NDArray[np.int64]
    matches: NDArray[np.int64]
    n_templates: NDArray[np.int64]
    templates: NDArray[np.int64]
    n_occurrences: NDArray[np.int64]
    occurrences: NDArray[np.int64]
    n_recollections: NDArray[np.int64]
    recollections: NDArray[np.int64]
    copying: Ints


@kernel
def places(count: int, carried: int) -> Places:
    """Room for `count` places that carry at most so many matches."""
    return Places(
        np.empty(count, np.int64),
        np.empty((count, carried, 3), np.int64),
        np.empty(count, np.int64),
        np.empty((count, CARRIED, 3), np.int64),
        np.empty(count, np.int64),
        np.empty((count, OCCURRENCES, 2), np.int64),
        np.empty(count, np.int64),
        np.empty((count, SORTED, 2), np.int64),
        np.empty((count, STATE), np.int32),
    )


# ---- one request

#: A request's facts, i64[FACTS]: how many matches and template matches hold, where its context
#: starts and how long it is, how deep a draft may go, where its desk starts, and the sizes of what
#: lies there.
(
    N_MATCHES, N_TEMPLATES, CONTEXT_AT, LENGTH, ROOM, DESK_AT, PROMPT, SPELLED, STARTS, RECALL,
) = range(10)  # fmt: skip
FACTS = 10


@kernel
def copying_of(desk: Any, facts: Any) -> Ints:
    """The state of copying: it lies first on the desk."""
    at = facts[DESK_AT]
    return desk[at : at + STATE]


@kernel
def words_of(desk: Any, facts: Any) -> Words:
    """The prompt's words: next on the desk."""
    spelled, starts = facts[SPELLED], facts[STARTS]
    a = facts[DESK_AT] + STATE
    b, c = a + spelled, a + 2 * spelled
    d, e, f = c + starts, c + 2 * starts, c + 3 * starts
    traits = desk[f : f + starts * TRAITS].reshape(starts, TRAITS)
    return Words(desk[a:b], desk[b:c], desk[c:d], desk[d:e], desk[e:f], traits, facts[PROMPT])


@kernel
def recalled_of(desk: Any, facts: Any) -> Any:
    """What similar prompts got, and how much of it the template's ending equals: last."""
    size = facts[RECALL]
    a = facts[DESK_AT] + STATE + 2 * facts[SPELLED] + (3 + TRAITS) * facts[STARTS]
    b, c = a + size, a + 2 * size
    return Recalled(desk[a:b], desk[b:c]), desk[c : c + size]


@kernel
def asked_of(matches: Any, context: Any, lengths: Any, desk: Any, facts: Any) -> Asked:
    """One request of a batch: `matches` i64[2, MATCHES, 3], the corpus' and the templates'."""
    first = facts[CONTEXT_AT]
    recalled, of_recalled = recalled_of(desk, facts)
    return Asked(
        matches, facts, context[first:], lengths[first:], copying_of(desk, facts),
        words_of(desk, facts), recalled, of_recalled,
    )  # fmt: skip


@kernel
def start(sources: Sources, matches: Any, desk: Any, facts: Any) -> None:
    """Stand where answers start."""
    nothing = np.empty((0, 3), np.int64)
    token = np.int32(SEPARATOR)
    facts[N_MATCHES] = advance(sources.index, nothing, np.int64(0), token, matches[0])
    facts[N_TEMPLATES] = advance(sources.templates, nothing, np.int64(0), token, matches[1])
    begin(copying_of(desk, facts))
    recalled, lengths = recalled_of(desk, facts)
    extend_recalled(recalled.text, lengths, token)


class Spare(NamedTuple):
    """Room to `move` in: `matches` i64[MATCHES, 3] and `copying` i32[STATE]."""

    matches: NDArray[np.int64]
    copying: Ints


@kernel
def spare() -> Spare:
    """Room for any request."""
    return Spare(np.empty((MATCHES, 3), np.int64), np.empty(STATE, np.int32))


@piece
def move(sources: Sources, asked: Asked, room: Spare, token: Any) -> None:
    """Move on by a `token` that was written. `context` and `lengths` have room for it."""
    facts, matches, after = asked.facts, asked.matches, room.matches
    facts[N_MATCHES] = advance(sources.index, matches[0], facts[N_MATCHES], token, after)
    _put(after, facts[N_MATCHES], matches[0])
    facts[LENGTH] = extend_context(asked.context, facts[LENGTH], asked.lengths, token)
    added = copy(asked.words, sources.frozen, sources.slot, asked.copying, token, room.copying)
    for i in range(STATE):
        asked.copying[i] = room.copying[i]
    if added != NOTHING:
        found = advance(sources.templates, matches[1], facts[N_TEMPLATES], np.int32(added), after)
        facts[N_TEMPLATES] = found
        _put(after, found, matches[1])
        extend_recalled(asked.recalled.text, asked.of_recalled, added)


@part
def _put(found, count, out):
    for m in range(count):
        for i in range(3):
            out[m, i] = found[m, i]


# ---- places


@piece
def root(narrow: bool, asked: Asked, out: Places) -> None:
    """Place 0 is where the answer stands; `narrow` takes what `calibrated` looks at."""
    matches, facts = asked.matches, asked.facts
    out.n_templates[0] = out.n_recollections[0] = 0
    if narrow:
        out.n_matches[0] = spread(matches[0], facts[N_MATCHES], out.matches[0])
        out.n_templates[0] = spread(matches[1], facts[N_TEMPLATES], out.templates[0])
        out.n_recollections[0] = recollections(
            asked.recalled.text, asked.of_recalled, out.recollections[0]
        )
    else:
        out.n_matches[0] = facts[N_MATCHES]
        _put(matches[0], facts[N_MATCHES], out.matches[0])
    out.n_occurrences[0] = occurrences(facts[LENGTH], asked.lengths, out.occurrences[0])
    for i in range(STATE):
        out.copying[0, i] = asked.copying[i]


@piece
def follow(
    sources: Sources, asked: Asked, narrow: bool, at: Places, parent: Any, here: Any, token: Any
) -> None:
    """Place `here` is `parent` after one more drafted `token`."""
    index = sources.index
    at.n_occurrences[here] = follow_occurrences(
        asked.context, asked.facts[LENGTH], at.occurrences[parent], at.n_occurrences[parent], token,
        at.occurrences[here],
    )  # fmt: skip
    if not narrow:
        at.n_matches[here] = advance(
            index, at.matches[parent], at.n_matches[parent], token, at.matches[here]
        )
        at.n_templates[here] = at.n_recollections[here] = 0
        return
    at.n_matches[here] = advance_spread(
        index, at.matches[parent], at.n_matches[parent], token, ORDERS, at.matches[here]
    )
    added = copy(
        asked.words, sources.frozen, sources.slot, at.copying[parent], token, at.copying[here]
    )
    if added == NOTHING:
        at.n_templates[here] = at.n_templates[parent]
        _put(at.templates[parent], at.n_templates[parent], at.templates[here])
        count = at.n_recollections[here] = at.n_recollections[parent]
        for o in range(count):
            at.recollections[here, o, 0] = at.recollections[parent, o, 0]
            at.recollections[here, o, 1] = at.recollections[parent, o, 1]
        return
    at.n_templates[here] = advance_spread(
        sources.templates, at.templates[parent], at.n_templates[parent], np.int32(added),
        TEMPLATES, at.templates[here],
    )  # fmt: skip
    at.n_recollections[here] = follow_recollections(
        asked.recalled.text, at.recollections[parent], at.n_recollections[parent], added,
        at.recollections[here],
    )  # fmt: skip
