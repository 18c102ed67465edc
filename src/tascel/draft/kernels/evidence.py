"""What every source says of the next token, as evidence whose weight was learned.

Each group of matches names tokens. A token's score adds up, over all groups, what the cell of its
share is worth; the score of "none of these" likewise; a softmax gives the probabilities (see
`learning` for where the worth comes from).
"""

# pyright: basic

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.draft.kernels import kernel, part
from tascel.draft.kernels.copying import (
    COPIED,
    COUNT,
    FIRST_PLACE,
    LAST,
    TAIL,
    first_tokens,
    go_on,
    point,
    within_word,
)
from tascel.draft.kernels.matching import (
    SEPARATOR,
    TOP,
    token_at,
    top_of_context,
    top_of_match,
)
from tascel.draft.kernels.placing import ORDERS, TEMPLATES
from tascel.draft.kernels.recalling import top_of_recalled

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
    tokens `n_first`, which ones `first`, with which `shares`; `scores` f64[W] of all starts."""

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


@kernel
def candidates(starts: int) -> Candidates:
    """Room for the candidates of one place, in whose prompt a copy may begin at so many starts."""
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
    )


@part
def calibrated(sources, trust, drift, asked, at, here, out):
    """Every group adds its evidence for each token, and against all that it names: a log-linear
    mixture whose weights were learned on held-out traces (see `learning`)."""
    known = gather(sources, asked, at, here, out)
    weigh(trust, drift, known, out)
    for i in range(known):
        out.source[i] = _credit(out.cells[i])
    return known


@part
def _credit(cells):
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
def gather(sources, asked, at, here, out):
    """The tokens that any group names at place `here`, into `out.token`; returns how many.

    Into `out.cells` [CANDIDATES, GROUPS]: the evidence cell of each token by group, that of a share
    of 0 where the group does not name it. Into `out.nothing` [GROUPS]: the cell of the group's best
    token. All are -1 where the group is empty. A slot that a group names stands for the tokens that
    the copy may begin with.
    """
    tokens, counts = out.tokens, out.counts
    state = at.copying[here]
    pointed = np.int64(-1 if state[COUNT] == 0 and len(asked.words.starts) > 0 else -2)
    known, sure = np.int64(0), 0.0
    for g in range(GROUPS):
        out.nothing[g] = -1
    for group in range(OF_CONTEXT):
        if group < OF_TEMPLATES:
            m, index = group, sources.index
            if m >= min(at.n_matches[here], ORDERS):
                continue
            depth, lo, hi = at.matches[here, m, 0], at.matches[here, m, 1], at.matches[here, m, 2]
        else:
            m, index = group - OF_TEMPLATES, sources.templates
            if m >= min(at.n_templates[here], TEMPLATES):
                continue
            found = at.templates[here, m]
            depth, lo, hi = found[0], found[1], found[2]
        n = top_of_match(index, depth, lo, hi, tokens, counts)
        bucket = bucket_of(depth, DEPTH_FLOORS)
        if token_at(index, lo, 0) == SEPARATOR:
            bucket = WHOLE
        known, pointed, sure = _name(
            group, bucket, bucket_of(hi - lo, COUNT_FLOORS), n, hi - lo,
            sources, asked, state, known, pointed, sure, out,
        )  # fmt: skip
    occ, n_occ = at.occurrences[here], at.n_occurrences[here]
    begin = np.int64(0)
    for others in range(2):
        end = _end(occ, n_occ, begin, others)
        if end > begin:
            n = top_of_context(asked.context, occ, begin, end, tokens, counts)
            known, pointed, sure = _name(
                OF_CONTEXT + others, bucket_of(occ[begin, 1], DEPTH_FLOORS),
                bucket_of(end - begin, COUNT_FLOORS), n, end - begin,
                sources, asked, state, known, pointed, sure, out,
            )  # fmt: skip
        begin = end
    occ, n_occ = at.recollections[here], at.n_recollections[here]
    begin = np.int64(0)
    for others in range(2):
        end = _end(occ, n_occ, begin, others)
        if end > begin:
            n, total = top_of_recalled(asked.recalled, occ, begin, end, tokens, counts)
            depth, last = occ[begin, 1], occ[begin, 0]
            bucket = bucket_of(depth, DEPTH_FLOORS)
            if asked.recalled.text[last - depth] == SEPARATOR:
                bucket = WHOLE
            likest = 0
            for o in range(begin, end):
                likest = max(likest, asked.recalled.weight[occ[o, 0]])
            known, pointed, sure = _name(
                OF_RECALLED + others, bucket, bucket_of(likest, WEIGHT_FLOORS), n, total,
                sources, asked, state, known, pointed, sure, out,
            )  # fmt: skip
        begin = end
    known = _slots(asked, state, known, sure, sources, out)
    for g in range(GROUPS):
        if out.nothing[g] < 0:
            for i in range(known):
                out.cells[i, g] = -1
    return known


@part
def _end(occ, count, begin, others):
    """Where the group ends that begins there: first all of the longest, then all others."""
    end = count
    if not others:
        end = begin
        while end < count and occ[end, 1] == occ[0, 1]:
            end += 1
    return end


@part
def _slots(asked, state, known, sure, sources, out):
    """The group of copies: how an open one goes on, or where one may begin."""
    tokens, counts = out.tokens, out.counts
    if state[COUNT] > 0:
        found = go_on(asked.words, state, tokens, counts)
        depth = 0 if within_word(asked.words, state) else min(state[COPIED], WORDS - 1)
        count = bucket_of(state[COUNT], COUNT_FLOORS)
        row = _row(OF_SLOTS, depth, count, known, out)
        for i in range(found):
            known = _enter(OF_SLOTS, row, tokens[i], counts[i] / state[COUNT], known, out)
        return known
    if sure > 0.0:
        note = _pointed(asked, state, sources.pointer, out)
        row = _row(OF_SLOTS, WORDS + bucket_of(sure, SURE_FLOORS), 0, known, out)
        for i in range(out.n_first[note]):
            known = _enter(OF_SLOTS, row, out.first[note, i], out.shares[note, i], known, out)
    return known


@part
def _pointed(asked, state, pointer, out):
    """Where it is noted what a copy that begins here begins with."""
    noted = out.noted[0]
    for k in range(min(noted, NOTED)):
        same = out.tails[k, TAIL] == state[LAST]
        for i in range(TAIL):
            same = same and out.tails[k, i] == state[FIRST_PLACE - TAIL + i]
        if same:
            return k
    k = noted % NOTED
    out.noted[0] += 1
    for i in range(TAIL):
        out.tails[k, i] = state[FIRST_PLACE - TAIL + i]
    out.tails[k, TAIL] = state[LAST]
    point(asked.words, pointer, state, out.scores)
    out.n_first[k] = first_tokens(asked.words, out.scores, out.first[k], out.shares[k])
    return k


@part
def bucket_of(value, floors):
    """The last bucket whose floor is not above `value`."""
    b = len(floors) - 1
    while b > 0 and value < floors[b]:
        b -= 1
    return b


@part
def _name(group, depth, count, found, total, sources, asked, state, known, pointed, sure, out):
    """Enter the tokens of one group; those it does not name get a share of 0."""
    tokens, counts = out.tokens, out.counts
    row = _row(group, depth, count, known, out)
    for i in range(found):
        share = counts[i] / total
        if tokens[i] != sources.slot:
            known = _enter(group, row, tokens[i], share, known, out)
        elif pointed > -2:
            sure = max(sure, share)
            if pointed < 0:
                pointed = _pointed(asked, state, sources.pointer, out)
            for j in range(out.n_first[pointed]):
                known = _enter(
                    group, row, out.first[pointed, j], share * out.shares[pointed, j], known, out
                )
    return known, pointed, sure


@part
def _row(group, depth, count, known, out):
    """The cell of a share of 0 in a new group, which is what all get that it does not name."""
    row = ((group * DEPTHS + depth) * COUNTS + count) * SHARES
    out.nothing[group] = row
    for i in range(known):
        out.cells[i, group] = row
    return row


@part
def _enter(group, row, token, share, known, out):
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
def place_of(token, known, wanted):
    """Where `wanted` stands among the known tokens; `known` if nowhere."""
    place = 0
    while place < known and token[place] != wanted:
        place += 1
    return place
