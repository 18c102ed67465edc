"""The mixing rules of others behind the interface of ours: shares are taken for probabilities.

A rule gets the matches and occurrences of one place and writes `token`, `probability` and `source`
of each candidate; it returns how many.
"""

# pyright: basic

from __future__ import annotations

from tascel.compiled import part
from tascel.draft.kernels.evidence import CONTEXT, CORPUS, place_of
from tascel.draft.kernels.matching import top_of_context, top_of_match

# llama.cpp's lookup (common/ngram-cache.cpp): least occurrences and least share by n-gram length.
LAX = ((2, 0.5), (2, 0.5), (1, 0.5), (1, 0.66))
STRICT = ((4, 0.66), (3, 0.66), (2, 0.66), (2, 0.75))
BIAS = 5  # SAM-decoding: so much longer must a corpus match be than one in the context


@part
def longest(index, matches, n_matches, context, occ, n_occ, out):
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
        ends = out.ends
        total = _at_least(occ, n_occ, in_context, ends)
        known = top_of_context(context, ends, 0, total, token, counts)
        named = CONTEXT
    for i in range(known):
        probability[i], source[i] = counts[i] / total, named
    return known


@part
def backoff(index, matches, n_matches, context, occ, n_occ, out):
    """The first n-gram, from four tokens down to one, that was seen often and surely enough: in
    the context, else, by stricter thresholds, in the corpus (llama.cpp's lookup)."""
    token, probability, source, counts = out.token, out.probability, out.source, out.counts
    for n in range(len(LAX), 0, -1):
        if n_occ == 0 or occ[0, 1] < n:
            continue
        ends = out.ends
        total = _at_least(occ, n_occ, n, ends)
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


@part
def interpolate(index, mixer, matches, n_matches, context, occ, n_occ, out):
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
    ends = out.ends
    n_ends = _at_least(occ, n_occ, min(mixer.order - 1, occ[0, 1]), ends)
    found = top_of_context(context, ends, 0, n_ends, tokens, counts)
    for i in range(found):
        share = (1.0 - mixer.weight) * counts[i] / n_ends
        place = place_of(token, known, tokens[i])
        if place == known:
            token[known], probability[known] = tokens[i], 0.0
            known += 1
        source[place] = CORPUS if probability[place] >= share else CONTEXT
        probability[place] += share
    return known


@part
def _cut(matches, count, depth):
    """The match of just the last `depth` tokens: equal occurrences share one entry, so it is the
    last one at least as deep."""
    m = 0
    while m + 1 < count and matches[m + 1, 0] >= depth:
        m += 1
    return m


@part
def _at_least(occ, count, length, kept):
    """The occurrences of at least `length` tokens, to `kept`; how many."""
    n = 0
    for o in range(count):
        if occ[o, 1] >= length:
            kept[n, 0], kept[n, 1] = occ[o, 0], occ[o, 1]
            n += 1
    return n
