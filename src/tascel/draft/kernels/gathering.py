"""What does every source say of the token after a place? Tokens by group, as cells of evidence."""

# pyright: basic

from __future__ import annotations

import numpy as np

from tascel.compiled import part, piece
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
from tascel.draft.kernels.evidence import (
    COUNT_FLOORS,
    DEPTH_FLOORS,
    GROUPS,
    NOTED,
    OF_CONTEXT,
    OF_RECALLED,
    OF_SLOTS,
    OF_TEMPLATES,
    SURE_FLOORS,
    WEIGHT_FLOORS,
    WHOLE,
    WORDS,
    bucket_of,
    enter,
    row_of,
)
from tascel.draft.kernels.matching import SEPARATOR, token_at, top_of_context, top_of_match
from tascel.draft.kernels.placing import ORDERS, TEMPLATES
from tascel.draft.kernels.recalling import top_of_recalled


@piece
def gather(sources, asked, at, here, out):
    """The tokens that any group names at place `here`, into `out.token`; returns how many.

    Into `out.cells` [CANDIDATES, GROUPS]: the evidence cell of each token by group, that of a share
    of 0 where the group does not name it. Into `out.nothing` [GROUPS]: the cell of the group's best
    token. All are -1 where the group is empty. A slot that a group names stands for the tokens that
    the copy may begin with.
    """
    state = at.copying[here]
    for g in range(GROUPS):
        out.nothing[g] = -1
    known, sure = np.int64(0), 0.0
    for m in range(min(at.n_matches[here], ORDERS)):
        match = at.matches[here, m]
        known, sure = _matched(m, sources.index, match, sources, asked, state, known, sure, out)
    for m in range(min(at.n_templates[here], TEMPLATES)):
        group, match = OF_TEMPLATES + m, at.templates[here, m]
        known, sure = _matched(
            group, sources.templates, match, sources, asked, state, known, sure, out
        )
    occ, n_occ = at.occurrences[here], at.n_occurrences[here]
    end = _end(occ, n_occ)
    known, sure = _said(OF_CONTEXT, occ, 0, end, sources, asked, state, known, sure, out)
    known, sure = _said(OF_CONTEXT + 1, occ, end, n_occ, sources, asked, state, known, sure, out)
    occ, n_occ = at.recollections[here], at.n_recollections[here]
    end = _end(occ, n_occ)
    known, sure = _recalled(OF_RECALLED, occ, 0, end, sources, asked, state, known, sure, out)
    known, sure = _recalled(
        OF_RECALLED + 1, occ, end, n_occ, sources, asked, state, known, sure, out
    )
    known = _slots(asked, state, known, sure, sources, out)
    for g in range(GROUPS):
        if out.nothing[g] < 0:
            for i in range(known):
                out.cells[i, g] = -1
    return known


@piece
def _matched(group, index, match, sources, asked, state, known, sure, out):
    """What followed a match of the outputs or of their templates."""
    depth, lo, hi = match[0], match[1], match[2]
    n = top_of_match(index, depth, lo, hi, out.tokens, out.counts)
    bucket = bucket_of(depth, DEPTH_FLOORS)
    if token_at(index, lo, 0) == SEPARATOR:
        bucket = WHOLE
    count = bucket_of(hi - lo, COUNT_FLOORS)
    return _name(group, bucket, count, n, hi - lo, sources, asked, state, known, sure, out)


@part
def _end(occ, count):
    """Where the longest of them end, and all others begin."""
    end = np.int64(0)
    while end < count and occ[end, 1] == occ[0, 1]:
        end += 1
    return end


@piece
def _said(group, occ, begin, end, sources, asked, state, known, sure, out):
    """What followed occurrences [begin, end) in the context."""
    if end == begin:
        return known, sure
    n = top_of_context(asked.context, occ, begin, end, out.tokens, out.counts)
    depth, count = bucket_of(occ[begin, 1], DEPTH_FLOORS), bucket_of(end - begin, COUNT_FLOORS)
    return _name(group, depth, count, n, end - begin, sources, asked, state, known, sure, out)


@piece
def _recalled(group, occ, begin, end, sources, asked, state, known, sure, out):
    """What followed recollections [begin, end) in similar prompts' answers."""
    if end == begin:
        return known, sure
    text, weight = asked.recalled.text, asked.recalled.weight
    n, total = top_of_recalled(asked.recalled, occ, begin, end, out.tokens, out.counts)
    bucket = bucket_of(occ[begin, 1], DEPTH_FLOORS)
    if text[occ[begin, 0] - occ[begin, 1]] == SEPARATOR:
        bucket = WHOLE
    likest = 0
    for o in range(begin, end):
        likest = max(likest, weight[occ[o, 0]])
    count = bucket_of(likest, WEIGHT_FLOORS)
    return _name(group, bucket, count, n, total, sources, asked, state, known, sure, out)


@piece
def _name(group, depth, count, found, total, sources, asked, state, known, sure, out):
    """Enter the tokens of one group; those it does not name get a share of 0."""
    row = row_of(group, depth, count, known, out)
    may_begin = state[COUNT] == 0 and len(asked.words.starts) > 0
    for i in range(found):
        share = out.counts[i] / total
        if out.tokens[i] != sources.slot:
            known = enter(group, row, out.tokens[i], share, known, out)
        elif may_begin:
            sure = max(sure, share)
            note = _pointed(asked, state, sources.pointer, out)
            for j in range(out.n_first[note]):
                first = share * out.shares[note, j]
                known = enter(group, row, out.first[note, j], first, known, out)
    return known, sure


@piece
def _slots(asked, state, known, sure, sources, out):
    """The group of copies: how an open one goes on, or where one may begin."""
    tokens, counts = out.tokens, out.counts
    if state[COUNT] > 0:
        found = go_on(asked.words, state, tokens, counts)
        depth = 0 if within_word(asked.words, state) else min(state[COPIED], WORDS - 1)
        count = bucket_of(state[COUNT], COUNT_FLOORS)
        row = row_of(OF_SLOTS, depth, count, known, out)
        for i in range(found):
            known = enter(OF_SLOTS, row, tokens[i], counts[i] / state[COUNT], known, out)
        return known
    if sure > 0.0:
        note = _pointed(asked, state, sources.pointer, out)
        row = row_of(OF_SLOTS, WORDS + bucket_of(sure, SURE_FLOORS), 0, known, out)
        for i in range(out.n_first[note]):
            known = enter(OF_SLOTS, row, out.first[note, i], out.shares[note, i], known, out)
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
