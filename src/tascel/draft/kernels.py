"""The compiled hot path: match, gather candidates, mix, grow. `reference.py` says the same plainly.

All kernels live in one module, because numba's disk cache does not notice an edit elsewhere.
Compiled code has no bounds checks and a bundle is untrusted input: text is only read through
`_token_at`, and no id is proposed that the vocabulary does not have.

Conventions. `text` i32[n]: outputs, each led by the separator -1, then ids up to the closing id.
`array` i32[n]: its suffix array. A *match* is (depth, lo, hi): the last `depth` tokens occur before
the positions `array[lo:hi]` + depth. Matches are kept longest first, one for each distinct number
of occurrences: an equal number means the same occurrences, and stays so. In the context an
occurrence is (end, length): the `length` tokens before position `end` are also the last ones.
"""

# pyright: basic

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

SEPARATOR = -1
END = -2  # sorts below every token: a suffix that ends is smaller than one that goes on
MATCHES = 24  # distinct matches kept for one position
OCCURRENCES = 48  # context occurrences kept for one position
ORDERS = 3  # match lengths of one source that may propose
TOP = 4  # tokens that one match may propose
PROBES = 16  # probes into a wide interval
CANDIDATES = (ORDERS + 2) * TOP
CORPUS, CONTEXT = 0, 1  # source indices in the trust table
# Least value of each bucket of the trust table: match length, occurrences, share of them.
DEPTH_FLOORS = np.array([1, 2, 3, 4, 5, 7, 9, 13, 17, 33])
COUNT_FLOORS = np.array([1, 2, 3, 5, 9, 33, 257])
SHARE_FLOORS = np.array([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 1.0])
DEPTHS, COUNTS, SHARES = len(DEPTH_FLOORS), len(COUNT_FLOORS), len(SHARE_FLOORS)
CELLS = 2 * ORDERS * DEPTHS * COUNTS * SHARES
RELIABILITY_BINS = 20
LEAST_TRUST = 0.02  # a node less likely than this is never worth looking at


# ---- matching in the corpus


@njit(cache=True, inline="always")
def _token_at(text, array, i, depth):
    p = array[i] + depth
    if p < 0 or p >= len(text):
        return np.int32(END)
    return text[p]


@njit(cache=True)
def _bound(text, array, lo, hi, depth, token, after):
    """First index in [lo, hi) whose token is >= `token` (> when `after`)."""
    while lo < hi:
        mid = (lo + hi) >> 1
        here = _token_at(text, array, mid, depth)
        if here < token or (after and here == token):
            lo = mid + 1
        else:
            hi = mid
    return lo


@njit(cache=True)
def advance(text: Ints, array: Ints, matches: Ints, count: int, token: Any, out: Ints) -> int:
    """Matches after one more `token`: `matches` i32[>=count, 3] to `out`; returns how many."""
    kept = 0
    size = 0
    for m in range(count + 1):
        if m < count:
            depth, lo, hi = matches[m, 0], matches[m, 1], matches[m, 2]
        else:  # the match of the token alone
            depth, lo, hi = 0, 0, len(array)
        lo = _bound(text, array, lo, hi, depth, token, False)
        hi = _bound(text, array, lo, hi, depth, token, True)
        if hi - lo <= size:
            continue
        if kept == MATCHES:
            kept -= 1
        size = hi - lo
        out[kept, 0], out[kept, 1], out[kept, 2] = depth + 1, lo, hi
        kept += 1
    return kept


@njit(cache=True)
def _top_of_match(text, array, depth, lo, hi, tokens, counts):
    """The most frequent next tokens of a match, up to TOP, most frequent first.

    Probes evenly and measures each new run of equal tokens exactly, so every token with a share
    above 1 / PROBES is found whatever the interval's width.
    """
    found = 0
    step = max(1, (hi - lo) // PROBES)
    at = lo
    while at < hi:
        token = _token_at(text, array, at, depth)
        first = _bound(text, array, lo, at, depth, token, False) if step > 1 else at
        last = _bound(text, array, at, hi, depth, token, True)
        if token >= 0:
            found = _insert(tokens, counts, found, token, last - first)
        # the next probe that lies behind this run
        at += max(1, (last - at + step - 1) // step) * step
    return found


@njit(cache=True, inline="always")
def _insert(tokens, counts, found, token, count):
    """Keep `tokens` sorted by count, at most TOP; earlier wins among equals."""
    place = found
    while place > 0 and counts[place - 1] < count:
        place -= 1
    if place >= TOP:
        return found
    last = min(found, TOP - 1)
    for i in range(last, place, -1):
        tokens[i], counts[i] = tokens[i - 1], counts[i - 1]
    tokens[place], counts[place] = token, count
    return min(found + 1, TOP)


# ---- matching in the context


@njit(cache=True)
def extend_context(context: Ints, length: int, lengths: Ints, token: Any) -> int:
    """Append `token` at `length`; `lengths[i]` = how many tokens before i equal the last ones."""
    for i in range(length, 0, -1):
        lengths[i] = lengths[i - 1] + 1 if context[i - 1] == token else 0
    lengths[0] = 0
    context[length] = token
    return length + 1


@njit(cache=True)
def match_context(context: Ints, length: int, lengths: Ints) -> None:
    """`lengths` of a whole context at once: the Z-algorithm, read backwards. Linear time."""
    lengths[0] = 0
    left, right = 0, 0  # the furthest-reaching stretch known to repeat the ending, from behind
    for k in range(1, length):
        z = 0
        if k < right:
            z = min(right - k, lengths[length - (k - left)])
        while k + z < length and context[length - 1 - z] == context[length - 1 - k - z]:
            z += 1
        lengths[length - k] = z
        if k + z > right:
            left, right = k, k + z


@njit(cache=True)
def occurrences(length: int, lengths: Ints, out: Ints) -> int:
    """Occurrences of the context's own ending, longest first, then newest: i32[OCCURRENCES, 2]."""
    longest = 0
    for i in range(1, length):
        longest = max(longest, lengths[i])
    if longest == 0:
        return 0
    count = 0
    for whole in (True, False):
        room = OCCURRENCES // 2 if whole else OCCURRENCES
        for i in range(length - 1, 0, -1):
            if count == room:
                break
            if lengths[i] > 0 and (lengths[i] == longest) == whole:
                out[count, 0], out[count, 1] = i, lengths[i]
                count += 1
    return count


@njit(cache=True)
def _follow(context, length, occ, count, token, out):
    """Occurrences after one more drafted `token`."""
    kept = 0
    for o in range(count):
        end = occ[o, 0]
        if context[end] == token and end + 1 < length:
            out[kept, 0], out[kept, 1] = end + 1, occ[o, 1] + 1
            kept += 1
    return kept


# ---- candidates and their trust


@njit(cache=True, inline="always")
def _bucket(value, floors):
    b = len(floors) - 1
    while b > 0 and value < floors[b]:
        b -= 1
    return b


@njit(cache=True, inline="always")
def cell(source: int, order: int, depth: int, total: int, count: int) -> int:
    """Flat index into the trust table for a candidate seen `count` of `total` times."""
    index = (source * ORDERS + order) * DEPTHS + _bucket(depth, DEPTH_FLOORS)
    index = index * COUNTS + _bucket(total, COUNT_FLOORS)
    return index * SHARES + _bucket(count / total, SHARE_FLOORS)


@njit(cache=True)
def _propose_cells(source, order, depth, total, tokens, counts, found, known, token, cells):
    """Add a match's tokens; a token that a longer match of this source named keeps its cell."""
    for i in range(found):
        place = 0
        while place < known and token[place] != tokens[i]:
            place += 1
        if place == known:
            if known == len(token):
                continue
            token[known] = tokens[i]
            cells[known, 0] = cells[known, 1] = -1
            known += 1
        if cells[place, source] < 0:
            cells[place, source] = cell(source, order, depth, total, counts[i])
    return known


@njit(cache=True)
def gather(text, array, matches, n_matches, context, occ, n_occ, token, cells):
    """Candidates for the next token: ids in `token`, trust cells [corpus, context] in `cells`."""
    tokens, counts = np.empty(TOP, np.int32), np.empty(TOP, np.int32)
    known = 0
    for order in range(min(n_matches, ORDERS)):
        depth, lo, hi = matches[order, 0], matches[order, 1], matches[order, 2]
        found = _top_of_match(text, array, depth, lo, hi, tokens, counts)
        known = _propose_cells(
            CORPUS, order, depth, hi - lo, tokens, counts, found, known, token, cells
        )
    start = 0
    for order in range(2):  # the longest occurrences, then all the others together
        stop = n_occ
        if order == 0:
            stop = start
            while stop < n_occ and occ[stop, 1] == occ[0, 1]:
                stop += 1
        if stop > start:
            found = _top_of_context(context, occ, start, stop, tokens, counts)
            known = _propose_cells(
                CONTEXT, order, occ[start, 1], stop - start,
                tokens, counts, found, known, token, cells,
            )  # fmt: skip
        start = stop
    return known


@njit(cache=True)
def _top_of_context(context, occ, start, stop, tokens, counts):
    """The most frequent next tokens of occurrences [start, stop), newest first among equals."""
    found = 0
    for o in range(start, stop):
        token = context[occ[o, 0]]
        count = 0
        first = True
        for other in range(start, stop):
            if context[occ[other, 0]] == token:
                count += 1
                first = first and other >= o
        if first:
            found = _insert(tokens, counts, found, token, count)
    return found


@njit(cache=True)
def mix_calibrated(known, cells, trust, reliability, probability, source):
    """Probability of each candidate: sources agree as independent witnesses would, never more than
    one in all, then corrected by how often such a mixture was right on held-out traces."""
    total = 0.0
    for i in range(known):
        corpus = trust[cells[i, CORPUS]] if cells[i, CORPUS] >= 0 else 0.0
        context = trust[cells[i, CONTEXT]] if cells[i, CONTEXT] >= 0 else 0.0
        probability[i] = 1.0 - (1.0 - corpus) * (1.0 - context)
        source[i] = 1 + CORPUS if corpus >= context else 1 + CONTEXT
        total += probability[i]
    for i in range(known):
        p = probability[i] / max(1.0, total)
        at = p * RELIABILITY_BINS - 0.5
        left = min(max(int(np.floor(at)), 0), RELIABILITY_BINS - 2)
        slope = reliability[left + 1] - reliability[left]
        probability[i] = min(max(reliability[left] + (at - left) * slope, 0.0), 1.0)


@njit(cache=True)
def mix_interpolate(
    text, array, matches, n_matches, context, occ, n_occ, order, least, weight,
    token, probability, source,
):  # fmt: skip
    """TASC-spec as published (Tsur et al. 2026, section on TASC-spec; our reading): the longest
    corpus match of fewer than `order` tokens with an n-gram seen `least` times, and the longest
    context match, linearly interpolated with `weight` on the corpus."""
    tokens, counts = np.empty(TOP, np.int32), np.empty(TOP, np.int32)
    known = 0
    first = 0
    # equal occurrences share one entry, so the one cut to order - 1 is the last at least as deep
    while first + 1 < n_matches and matches[first + 1, 0] >= order - 1:
        first += 1
    for m in range(first, n_matches):
        lo, hi = matches[m, 1], matches[m, 2]
        found = _top_of_match(text, array, matches[m, 0], lo, hi, tokens, counts)
        for i in range(found):
            if counts[i] >= least:
                token[known] = tokens[i]
                probability[known] = weight * counts[i] / (hi - lo)
                source[known] = 1 + CORPUS
                known += 1
        if known > 0:
            break
    if n_occ == 0:
        return known
    ends = np.empty_like(occ)  # occurrences at least as long as the longest match, cut to order - 1
    n_ends = 0
    for o in range(n_occ):
        if occ[o, 1] >= min(order - 1, occ[0, 1]):
            ends[n_ends] = occ[o]
            n_ends += 1
    found = _top_of_context(context, ends, 0, n_ends, tokens, counts)
    for i in range(found):
        share = (1.0 - weight) * counts[i] / n_ends
        place = 0
        while place < known and token[place] != tokens[i]:
            place += 1
        if place == known:
            token[known], probability[known] = tokens[i], 0.0
            known += 1
        source[place] = 1 + CORPUS if probability[place] >= share else 1 + CONTEXT
        probability[place] += share
    return known


# ---- growing


@njit(cache=True)
def grow(
    text: Ints, array: Ints, matches: Ints, n_matches: int,
    context: Ints, length: int, lengths: Ints,
    calibrated: bool, trust: Floats, reliability: Floats, order: int, least: int, weight: float,
    cost: Floats, depth_limit: int, chain: bool, priced: bool, eos: Ints, vocabulary: int,
    tokens: Ints, parents: NDArray[np.int16], trusts: NDArray[np.float32],
    sources: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Best-first growth of a draft; returns how many nodes to offer.

    `cost` f64[N + 1]: milliseconds of the pass with 0…N drafted tokens. The offered tree is the
    best-first prefix with the most expected tokens per millisecond, or, unless `priced`, all of it.
    An id in `eos` is never continued.
    """
    most = len(tokens)
    n_matches_of = np.zeros(most + 1, np.int32)
    matches_of = np.empty((most + 1, MATCHES, 3), np.int32)
    n_occ_of = np.zeros(most + 1, np.int32)
    occ_of = np.empty((most + 1, OCCURRENCES, 2), np.int32)
    depth_of = np.zeros(most + 1, np.int32)
    # candidates waiting to become nodes
    waiting = 0
    w_token = np.empty((most + 1) * CANDIDATES, np.int32)
    w_parent = np.empty((most + 1) * CANDIDATES, np.int32)
    w_trust = np.empty((most + 1) * CANDIDATES, np.float64)
    w_source = np.empty((most + 1) * CANDIDATES, np.uint8)
    token = np.empty(CANDIDATES, np.int32)
    cells = np.empty((CANDIDATES, 2), np.int32)
    probability = np.empty(CANDIDATES, np.float64)
    source = np.empty(CANDIDATES, np.uint8)

    matches_of[0, :n_matches] = matches[:n_matches]
    n_matches_of[0] = n_matches
    n_occ_of[0] = occurrences(length, lengths, occ_of[0])
    nodes = 0
    expected, best, best_rate = 1.0, 0, 1.0 / cost[0]
    here, path = 0, 1.0  # slot 0 is the root, slot i + 1 the node i
    ended = False
    while True:
        if depth_of[here] < depth_limit and not ended:
            if calibrated:
                known = gather(
                    text, array, matches_of[here], n_matches_of[here],
                    context, occ_of[here], n_occ_of[here], token, cells,
                )  # fmt: skip
                mix_calibrated(known, cells, trust, reliability, probability, source)
            else:
                known = mix_interpolate(
                    text, array, matches_of[here], n_matches_of[here], context,
                    occ_of[here], n_occ_of[here], order, least, weight,
                    token, probability, source,
                )  # fmt: skip
            if chain:
                waiting = 0
            for i in range(known):
                value = path * probability[i]
                if token[i] < 0 or token[i] >= vocabulary or (priced and value < LEAST_TRUST):
                    continue
                w_token[waiting], w_parent[waiting] = token[i], here
                w_trust[waiting], w_source[waiting] = value, source[i]
                waiting += 1
        elif chain:
            break
        if nodes == most or waiting == 0:
            break
        top = 0
        for i in range(1, waiting):
            if w_trust[i] > w_trust[top]:
                top = i
        parent, new, path = w_parent[top], w_token[top], w_trust[top]
        if path < 0.0:  # all taken
            break
        w_trust[top] = -1.0
        tokens[nodes], parents[nodes] = new, parent - 1
        trusts[nodes], sources[nodes] = path, w_source[top]
        nodes += 1
        here = nodes
        expected += path
        if not priced:
            best = nodes
        elif expected / cost[nodes] > best_rate:
            best, best_rate = nodes, expected / cost[nodes]
        depth_of[here] = depth_of[parent] + 1
        ended = False
        for id_ in eos:
            ended = ended or id_ == new
        if not ended:
            n_matches_of[here] = advance(
                text, array, matches_of[parent], int(n_matches_of[parent]), new, matches_of[here]
            )
            n_occ_of[here] = _follow(
                context, length, occ_of[parent], n_occ_of[parent], new, occ_of[here]
            )
    return best


# ---- counting trust on held-out traces


@njit(cache=True)
def tally(
    text: Ints, array: Ints, output: Ints, context: Ints, length: int, lengths: Ints,
    hits: NDArray[np.int64], totals: NDArray[np.int64], trust: Floats, reliability: Floats,
    bin_hits: NDArray[np.int64], bin_totals: NDArray[np.int64],
) -> None:  # fmt: skip
    """Walk a held-out `output` and count, for every candidate at every token, whether it was right.

    By trust cell into `hits` and `totals`; where `trust` is given (not empty) by the mixture's own
    probability into the reliability bins instead.
    """
    matches = np.empty((MATCHES, 3), np.int32)
    swap = np.empty((MATCHES, 3), np.int32)
    occ = np.empty((OCCURRENCES, 2), np.int32)
    token = np.empty(CANDIDATES, np.int32)
    cells = np.empty((CANDIDATES, 2), np.int32)
    probability = np.empty(CANDIDATES, np.float64)
    source = np.empty(CANDIDATES, np.uint8)
    n_matches = advance(text, array, matches, 0, SEPARATOR, swap)
    for actual in output:
        matches, swap = swap, matches
        n_occ = occurrences(length, lengths, occ)
        known = gather(text, array, matches, n_matches, context, occ, n_occ, token, cells)
        if len(trust) == 0:
            for i in range(known):
                for s in range(2):
                    if cells[i, s] >= 0:
                        totals[cells[i, s]] += 1
                        hits[cells[i, s]] += token[i] == actual
        else:
            mix_calibrated(known, cells, trust, reliability, probability, source)
            for i in range(known):
                b = min(int(probability[i] * RELIABILITY_BINS), RELIABILITY_BINS - 1)
                bin_totals[b] += 1
                bin_hits[b] += token[i] == actual
        n_matches = advance(text, array, matches, n_matches, actual, swap)
        length = extend_context(context, length, lengths, actual)
