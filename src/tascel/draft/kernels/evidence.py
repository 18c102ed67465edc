"""The evidence for the next token: its cells, what they are worth, and whom a token is credited to.

Each group of matches names tokens (see `gathering`). A token's score adds up, over all groups, what
the cell of its share is worth; the score of "none of these" likewise; a softmax gives the
probabilities (see `learning` for where the worth comes from).
"""

# pyright: basic

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import kernel, part, piece
from tascel.draft.kernels.copying import TAIL
from tascel.draft.kernels.matching import OCCURRENCES, TOP
from tascel.draft.kernels.placing import ORDERS, TEMPLATES

CORPUS, CONTEXT, NEIGHBOURS, SLOTS = 1, 2, 6, 7  # as in types.SOURCES

# The groups: corpus matches; templates' matches; the longest context occurrences and all others;
# recollections likewise; copies of the prompt.
OF_TEMPLATES = ORDERS
OF_CONTEXT = OF_TEMPLATES + TEMPLATES
OF_RECALLED = OF_CONTEXT + 2
OF_SLOTS = OF_RECALLED + 2
GROUPS = OF_SLOTS + 1
CANDIDATES = (GROUPS + 1) * TOP
# Least value of each bucket of the evidence tables: match length, occurrences, share of them.
DEPTH_FLOORS = np.array([1, 2, 3, 4, 5, 7, 9, 13, 17, 33], np.int64)
COUNT_FLOORS = np.array([1, 2, 3, 5, 9, 33, 257], np.int64)
SHARE_FLOORS = np.array([0.0, 1e-9, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 1.0])
#: Recollections are bucketed by the weight of the best instead of by their number,
WEIGHT_FLOORS = np.array([0, 50, 80, 120, 180, 280, 500], np.int64)
#: and the start of a copy by how surely there is one.
SURE_FLOORS = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
WORDS = 4  # depth buckets of an open copy; those of its start come behind
WHOLE = len(DEPTH_FLOORS)  # the depth bucket of a match from the answer's very start
DEPTHS, COUNTS, SHARES = WHOLE + 1, len(COUNT_FLOORS), len(SHARE_FLOORS)
CELLS = GROUPS * DEPTHS * COUNTS * SHARES
NOTED = 8  # tails of which the pointer's answer is remembered


class Candidates(NamedTuple):
    """The tokens that may come next: `token` i32, `probability` f64 and `source` u8, each
    [CANDIDATES]. The rest is room to work in, allocated once a draft and not once a node: a match's
    top `tokens` and `counts` i32[TOP], the `cells` and `nothing` of `gather`, and what the pointer
    said at the last few template tails: `noted` i32[1] how often, at which `tails`, how many
    tokens `n_first`, which ones `first`, with which `shares`; `scores` f64[W] of all starts; the
    occurrences that a rule picks, their `ends`."""

    token: NDArray[np.int32]
    probability: NDArray[np.float64]
    source: NDArray[np.uint8]
    tokens: NDArray[np.int32]
    counts: NDArray[np.int32]
    cells: NDArray[np.int32]
    nothing: NDArray[np.int32]
    noted: NDArray[np.int32]
    tails: NDArray[np.int32]
    n_first: NDArray[np.int32]
    first: NDArray[np.int32]
    shares: NDArray[np.float64]
    scores: NDArray[np.float64]
    ends: NDArray[np.int64]


@kernel
def candidates(starts: int) -> Candidates:
    """Room for the candidates of one place, in whose prompt a copy may begin at so many starts, or
    at fewer."""
    return Candidates(
        np.empty(CANDIDATES, np.int32),
        np.empty(CANDIDATES, np.float64),
        np.empty(CANDIDATES, np.uint8),
        np.empty(TOP, np.int32),
        np.empty(TOP, np.int32),
        np.empty((CANDIDATES, GROUPS), np.int32),
        np.empty(GROUPS, np.int32),
        np.zeros(1, np.int32),
        np.empty((NOTED, TAIL + 1), np.int32),
        np.empty(NOTED, np.int32),
        np.empty((NOTED, TOP), np.int32),
        np.empty((NOTED, TOP), np.float64),
        np.empty(starts, np.float64),
        np.empty((OCCURRENCES, 2), np.int64),
    )


@piece
def row_of(group, depth, count, known, out):
    """The cell of a share of 0 in a new group, which is what all get that it does not name."""
    row = ((group * DEPTHS + depth) * COUNTS + count) * SHARES
    out.nothing[group] = row
    for i in range(known):
        out.cells[i, group] = row
    return row


@piece
def enter(group, row, token, share, known, out):
    """One token that a group names; the larger share counts if it does so twice."""
    place = place_of(out.token, known, token)
    cell = row + bucket_of(share, SHARE_FLOORS)
    if place == known:
        if known == CANDIDATES:
            return known
        out.token[known] = token
        for g in range(GROUPS):  # groups before this one did not name it
            nothing = out.nothing[g]
            out.cells[known, g] = nothing - nothing % SHARES if nothing >= 0 else -1
        known += 1
    out.cells[place, group] = max(out.cells[place, group], cell)
    out.nothing[group] = max(out.nothing[group], cell)
    return known


@part
def bucket_of(value, floors):
    """The last bucket whose floor is not above `value`."""
    b = len(floors) - 1
    while b > 0 and value < floors[b]:
        b -= 1
    return b


@part
def place_of(token, known, wanted):
    """Where `wanted` stands among the known tokens; `known` if nowhere."""
    place = 0
    while place < known and token[place] != wanted:
        place += 1
    return place


@part
def weigh(trust, drift, known, out):
    """Probability of each candidate, and as the return value that of none of them: a softmax over
    the evidence that the groups add up."""
    cells, nothing, probability = out.cells, out.nothing, out.probability
    none = 0.0
    for g in range(GROUPS):
        if nothing[g] >= 0:
            none += trust[1, nothing[g]] + drift[1, g, nothing[g] % SHARES]
    for i in range(known):
        score = 0.0
        for g in range(GROUPS):
            if cells[i, g] >= 0:
                score += trust[0, cells[i, g]] + drift[0, g, cells[i, g] % SHARES]
        probability[i] = score
    return softmax(probability, known, none)


@part
def softmax(scores, known, none):
    """Turn the first scores to probabilities, against the score of none of them; returns its
    own."""
    highest = none
    for i in range(known):
        highest = max(highest, scores[i])
    none = np.exp(none - highest)
    total = none
    for i in range(known):
        scores[i] = np.exp(scores[i] - highest)
        total += scores[i]
    for i in range(known):
        scores[i] /= total
    return none / total


@part
def credit(cells):
    """Who names a token with the largest share; templates speak for the corpus."""
    source, best = CORPUS, 0
    for g in range(GROUPS):
        share = cells[g] % SHARES if cells[g] >= 0 else 0
        if share > best or (share == best and g == OF_SLOTS and source != CORPUS):
            best = share
            if g < OF_CONTEXT:
                source = CORPUS
            elif g < OF_RECALLED:
                source = CONTEXT
            elif g < OF_SLOTS:
                source = NEIGHBOURS
            else:
                source = SLOTS
    return source
