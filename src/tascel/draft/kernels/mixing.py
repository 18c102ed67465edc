"""From matches to candidates for the next token: the mixing rules behind one interface.

A rule gets what `matching` found and writes `token`, `probability` and `source` of each candidate;
it returns how many. All but `calibrated` take shares for probabilities, as their inventors do.
"""

# pyright: basic

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.draft.kernels import kernel
from tascel.draft.kernels.matching import SEPARATOR, TOP, token_at, top_of_context, top_of_match

INTERPOLATE, BACKOFF, BEST, LONGEST, CALIBRATED = range(5)
CORPUS, CONTEXT = 1, 2  # as in types.SOURCES

ORDERS = 3  # corpus matches that give evidence: the longest, then each at least twice as wide
GROUPS = ORDERS + 2  # and two groups of context occurrences: the longest, then all others
CANDIDATES = GROUPS * TOP
# Least value of each bucket of the evidence tables: match length, occurrences, share of them.
DEPTH_FLOORS = np.array([1, 2, 3, 4, 5, 7, 9, 13, 17, 33], np.int64)
COUNT_FLOORS = np.array([1, 2, 3, 5, 9, 33, 257], np.int64)
SHARE_FLOORS = np.array([0.0, 1e-9, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 1.0])
WHOLE = len(DEPTH_FLOORS)  # the depth bucket of a match from the answer's very start
DEPTHS, COUNTS, SHARES = WHOLE + 1, len(COUNT_FLOORS), len(SHARE_FLOORS)
CELLS = GROUPS * DEPTHS * COUNTS * SHARES

# llama.cpp's lookup (common/ngram-cache.cpp): least occurrences and least share by n-gram length.
LAX = ((2, 0.5), (2, 0.5), (1, 0.5), (1, 0.66))
STRICT = ((4, 0.66), (3, 0.66), (2, 0.66), (2, 0.75))
BIAS = 5  # SAM-decoding: so much longer must a corpus match be than one in the context


class Mixer(NamedTuple):
    """How to mix. `order`, `least`, `weight` are `interpolate`'s. `trust` f32[2, CELLS] is
    `calibrated`'s: log-odds for a token, and for none of those named; `drift` f32[2, GROUPS,
    SHARES] is what recent answers add to both."""

    rule: int
    order: int
    least: int
    weight: float
    trust: NDArray[np.float32]
    drift: NDArray[np.float32]


class Candidates(NamedTuple):
    """The tokens that may come next: `token` i32, `probability` f64 and `source` u8, each
    [CANDIDATES]. The rest is room to work in, allocated once a draft and not once a node: a match's
    top `tokens` and `counts` i32[TOP], and the `cells` and `nothing` of `gather`."""

    token: NDArray[np.int32]
    probability: NDArray[np.float64]
    source: NDArray[np.uint8]
    tokens: NDArray[np.int32]
    counts: NDArray[np.int32]
    cells: NDArray[np.int32]
    nothing: NDArray[np.int32]


@kernel
def candidates() -> Candidates:
    """Room for the candidates of one place."""
    return Candidates(
        np.empty(CANDIDATES, np.int32),
        np.empty(CANDIDATES, np.float64),
        np.empty(CANDIDATES, np.uint8),
        np.empty(TOP, np.int32),
        np.empty(TOP, np.int32),
        np.empty((CANDIDATES, GROUPS), np.int32),
        np.empty(GROUPS, np.int32),
    )


@kernel
def mix(index, mixer, matches, n_matches, context, occ, n_occ, out):
    """Candidates for the next token by the mixer's rule; returns how many."""
    if mixer.rule == CALIBRATED:
        return _calibrated(index, mixer, matches, n_matches, context, occ, n_occ, out)
    if mixer.rule == INTERPOLATE:
        return _interpolate(index, mixer, matches, n_matches, context, occ, n_occ, out)
    if mixer.rule == BACKOFF:
        return _backoff(index, matches, n_matches, context, occ, n_occ, out)
    return _longest(index, matches, n_matches, context, occ, n_occ, out)


# ---- rules of others


@kernel
def _longest(index, matches, n_matches, context, occ, n_occ, out):
    """The longer match alone, the context's unless the corpus' is longer by more than BIAS
    (SAM-decoding, Hu et al. 2024)."""
    token, probability, source, counts = out.token, out.probability, out.source, out.counts
    in_corpus = matches[0, 0] if n_matches > 0 else 0
    in_context = occ[0, 1] if n_occ > 0 else 0
    if in_corpus > in_context + BIAS or n_occ == 0:
        if n_matches == 0:
            return 0
        total = matches[0, 2] - matches[0, 1]
        known = top_of_match(index, in_corpus, matches[0, 1], matches[0, 2], token, counts)
        named = CORPUS
    else:
        ends, total = _at_least(occ, n_occ, in_context)
        known = top_of_context(context, ends, 0, total, token, counts)
        named = CONTEXT
    for i in range(known):
        probability[i], source[i] = counts[i] / total, named
    return known


@kernel
def _backoff(index, matches, n_matches, context, occ, n_occ, out):
    """The first n-gram, from four tokens down to one, that was seen often and surely enough: in
    the context, else, by stricter thresholds, in the corpus (llama.cpp's lookup)."""
    token, probability, source, counts = out.token, out.probability, out.source, out.counts
    for n in range(len(LAX), 0, -1):
        if n_occ == 0 or occ[0, 1] < n:
            continue
        ends, total = _at_least(occ, n_occ, n)
        if top_of_context(context, ends, 0, total, token, counts) > 0:
            least, share = LAX[n - 1]
            if counts[0] >= least and counts[0] >= share * total:
                probability[0], source[0] = counts[0] / total, CONTEXT
                return 1
    for n in range(len(STRICT), 0, -1):
        if n_matches == 0 or matches[0, 0] < n:
            continue
        lo, hi = matches[_cut(matches, n_matches, n), 1:]
        if top_of_match(index, n, lo, hi, token, counts) > 0:
            least, share = STRICT[n - 1]
            if counts[0] >= least and counts[0] >= share * (hi - lo):
                probability[0], source[0] = counts[0] / (hi - lo), CORPUS
                return 1
    return 0


@kernel
def _interpolate(index, mixer, matches, n_matches, context, occ, n_occ, out):
    """The longest corpus match of fewer than `order` tokens with an n-gram seen `least` times, and
    the longest context match, linearly interpolated with `weight` on the corpus (TASC-spec, Tsur
    et al. 2026; our reading)."""
    token, probability, source = out.token, out.probability, out.source
    tokens, counts = out.tokens, out.counts
    known = 0
    for m in range(_cut(matches, n_matches, mixer.order - 1), n_matches):
        lo, hi = matches[m, 1], matches[m, 2]
        found = top_of_match(index, matches[m, 0], lo, hi, tokens, counts)
        for i in range(found):
            if counts[i] >= mixer.least:
                token[known] = tokens[i]
                probability[known] = mixer.weight * counts[i] / (hi - lo)
                source[known] = CORPUS
                known += 1
        if known > 0:
            break
    if n_occ == 0:
        return known
    ends, n_ends = _at_least(occ, n_occ, min(mixer.order - 1, occ[0, 1]))
    found = top_of_context(context, ends, 0, n_ends, tokens, counts)
    for i in range(found):
        share = (1.0 - mixer.weight) * counts[i] / n_ends
        place = _place(token, known, tokens[i])
        if place == known:
            token[known], probability[known] = tokens[i], 0.0
            known += 1
        source[place] = CORPUS if probability[place] >= share else CONTEXT
        probability[place] += share
    return known


@kernel
def _cut(matches, count, depth):
    """The match of just the last `depth` tokens: equal occurrences share one entry, so it is the
    last one at least as deep."""
    m = 0
    while m + 1 < count and matches[m + 1, 0] >= depth:
        m += 1
    return m


@kernel
def _at_least(occ, count, length):
    """The occurrences of at least `length` tokens, and how many."""
    kept = np.empty_like(occ)
    n = 0
    for o in range(count):
        if occ[o, 1] >= length:
            kept[n, 0], kept[n, 1] = occ[o, 0], occ[o, 1]
            n += 1
    return kept, n


@kernel
def _place(token, known, wanted):
    """Where `wanted` stands among the known tokens; `known` if nowhere."""
    place = 0
    while place < known and token[place] != wanted:
        place += 1
    return place


# ---- ours


@kernel
def _calibrated(index, mixer, matches, n_matches, context, occ, n_occ, out):
    """Every match adds its evidence for each token, and against all that it names: a log-linear
    mixture whose weights were learned on held-out traces (see `learning`)."""
    known = gather(index, matches, n_matches, context, occ, n_occ, out)
    weigh(mixer.trust, mixer.drift, known, out)
    cells, source = out.cells, out.source
    for i in range(known):
        corpus, in_context = 0, 0  # who names it with the larger share gets the credit
        for g in range(GROUPS):
            share = cells[i, g] % SHARES if cells[i, g] >= 0 else 0
            if g < ORDERS:
                corpus = max(corpus, share)
            else:
                in_context = max(in_context, share)
        source[i] = CORPUS if corpus >= in_context else CONTEXT
    return known


@kernel
def weigh(trust, drift, known, out):
    """Probability of each candidate, and as the return value that of none of them: a softmax over
    the evidence that the groups add up."""
    cells, nothing, probability = out.cells, out.nothing, out.probability
    none = 0.0
    for g in range(GROUPS):
        if nothing[g] >= 0:
            none += trust[1, nothing[g]] + drift[1, g, nothing[g] % SHARES]
    highest = none
    for i in range(known):
        score = 0.0
        for g in range(GROUPS):
            if cells[i, g] >= 0:
                score += trust[0, cells[i, g]] + drift[0, g, cells[i, g] % SHARES]
        probability[i] = score
        highest = max(highest, score)
    none = np.exp(none - highest)
    total = none
    for i in range(known):
        probability[i] = np.exp(probability[i] - highest)
        total += probability[i]
    for i in range(known):
        probability[i] /= total
    return none / total


@kernel
def gather(index, matches, n_matches, context, occ, n_occ, out):
    """The tokens that any group of matches names, into `out.token`; returns how many.

    Into `out.cells` [CANDIDATES, GROUPS]: the evidence cell of each token by group, that of a share
    of 0 where the group does not name it. Into `out.nothing` [GROUPS]: the cell of the group's best
    token. All are -1 where the group is empty.
    """
    cells, nothing = out.cells, out.nothing
    token, tokens, counts = out.token, out.tokens, out.counts
    known = 0
    for g in range(GROUPS):
        nothing[g] = -1
    for group in range(min(n_matches, ORDERS)):
        depth, lo, hi = matches[group, 0], matches[group, 1], matches[group, 2]
        found = top_of_match(index, depth, lo, hi, tokens, counts)
        bucket = _bucket(depth, DEPTH_FLOORS)
        if token_at(index, lo, 0) == SEPARATOR:
            bucket = WHOLE
        known = _name(group, bucket, hi - lo, found, tokens, counts, known, token, cells, nothing)
    start = 0
    for others in range(2):
        stop = n_occ
        if others == 0:
            stop = start
            while stop < n_occ and occ[stop, 1] == occ[0, 1]:
                stop += 1
        if stop > start:
            found = top_of_context(context, occ, start, stop, tokens, counts)
            bucket = _bucket(occ[start, 1], DEPTH_FLOORS)
            known = _name(
                ORDERS + others, bucket, stop - start,
                found, tokens, counts, known, token, cells, nothing,
            )  # fmt: skip
        start = stop
    for g in range(GROUPS):
        if nothing[g] < 0:
            for i in range(known):
                cells[i, g] = -1
    return known


@kernel
def _bucket(value, floors):
    b = len(floors) - 1
    while b > 0 and value < floors[b]:
        b -= 1
    return b


@kernel
def _name(group, depth, total, found, tokens, counts, known, token, cells, nothing):
    """Enter the tokens of one group; those it does not name get a share of 0."""
    row = ((group * DEPTHS + depth) * COUNTS + _bucket(total, COUNT_FLOORS)) * SHARES
    nothing[group] = row
    for i in range(known):
        cells[i, group] = row
    for i in range(found):
        place = _place(token, known, tokens[i])
        if place == known:
            token[known] = tokens[i]
            for g in range(GROUPS):  # groups before this one did not name it
                cells[known, g] = nothing[g] - nothing[g] % SHARES if nothing[g] >= 0 else -1
            known += 1
        cells[place, group] = row + _bucket(counts[i] / total, SHARE_FLOORS)
    if found > 0:
        nothing[group] = row + _bucket(counts[0] / total, SHARE_FLOORS)
    return known
