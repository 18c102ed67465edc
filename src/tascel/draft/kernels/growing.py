"""From candidates to a draft: best-first, as long as the next node can still pay."""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.draft.kernels import kernel
from tascel.draft.kernels.matching import (
    MATCHES,
    OCCURRENCES,
    Index,
    Ints,
    Places,
    advance,
    advance_spread,
    follow_occurrences,
    occurrences,
    spread,
)
from tascel.draft.kernels.mixing import (
    BEST,
    CALIBRATED,
    CANDIDATES,
    ORDERS,
    Mixer,
    candidates,
    mix,
)

CARRIED = 5  # matches that a drafted node carries along for `calibrated`
LEAST_TRUST = 0.02  # a node less likely than this is never worth looking at


class Limits(NamedTuple):
    """What a draft may cost and hold. `cost` f64[N + 1]: milliseconds of the pass with 0…N drafted
    tokens; `slope` f64[N + 1]: the flattest average slope from each number to any larger one;
    `sure` tokens come of the pass anyway. Unless `priced` all N are offered. An id of `eos` is
    never continued."""

    cost: NDArray[np.float64]
    slope: NDArray[np.float64]
    sure: float
    priced: bool
    chain: bool
    eos: Ints
    vocabulary: int


class Rows(NamedTuple):
    """The state of R requests. `matches` i64[R, MATCHES, 3]; `context` and `lengths` of all rows
    joined; `facts` i64[R, 4]: how many matches a row has, where its context starts, how long that
    is, and how deep a draft may go."""

    matches: Places
    context: Ints
    lengths: Ints
    facts: Places


class Grown(NamedTuple):
    """Drafts: `tokens` i32[R, N], `parents` i16[R, N], `trust` f32[R, N], `source` u8[R, N], of
    which `width` i32[R] nodes are offered."""

    tokens: Ints
    parents: NDArray[np.int16]
    trust: NDArray[np.float32]
    source: NDArray[np.uint8]
    width: Ints


@kernel
def grow(
    text: Any, array: Any, tops: Any, steps: Any,
    rule: Any, order: Any, least: Any, weight: Any, trust: Any, drift: Any,
    cost: Any, slope: Any, sure: Any, priced: Any, chain: Any, eos: Any, vocabulary: Any,
    matches: Any, context: Any, lengths: Any, facts: Any,
    tokens: Any, parents: Any, trusts: Any, sources: Any, width: Any,
) -> None:  # fmt: skip
    """Draft for every row: `grow(*index, *mixer, *limits, *rows, *grown)`. The arguments are flat
    since numba needs three microseconds more to take them as tuples."""
    index = Index(text, array, tops, steps)
    mixer = Mixer(rule, order, least, weight, trust, drift)
    limits = Limits(cost, slope, sure, priced, chain, eos, vocabulary)
    out = Grown(tokens, parents, trusts, sources, width)
    for r in range(len(facts)):
        n_matches, first, length, room = facts[r]
        past = context[first : first + length]
        occ = np.empty((OCCURRENCES, 2), np.int64)
        n_occ = occurrences(length, lengths[first : first + length], occ)
        found = matches[r, :n_matches]
        _grow(index, mixer, limits, found, past, occ[:n_occ], room, out, r)


@kernel
def _grow(index, mixer, limits, matches, context, occ, room, out, r):
    """Grow row r's draft: of the best-first trees of 0…N nodes the one with the most expected
    tokens per millisecond is offered."""
    cost = limits.cost
    most = len(cost) - 1
    n_matches_of = np.empty(most + 1, np.int64)
    carried = CARRIED if mixer.rule == CALIBRATED else MATCHES
    matches_of = np.empty((most + 1, carried, 3), np.int64)
    n_occ_of = np.empty(most + 1, np.int64)
    occ_of = np.empty((most + 1, OCCURRENCES, 2), np.int64)
    depth_of = np.empty(most + 1, np.int32)
    # candidates waiting to become nodes
    waiting = 0
    w_token = np.empty((most + 1) * CANDIDATES, np.int32)
    w_parent = np.empty((most + 1) * CANDIDATES, np.int32)
    w_trust = np.empty((most + 1) * CANDIDATES, np.float64)
    w_source = np.empty((most + 1) * CANDIDATES, np.uint8)
    found = candidates()
    token, probability, source = found.token, found.probability, found.source

    n_occ_of[0], depth_of[0] = len(occ), 0
    if mixer.rule == CALIBRATED:
        n_matches_of[0] = spread(matches, len(matches), matches_of[0])
    else:
        n_matches_of[0] = len(matches)
        for m in range(len(matches)):
            for i in range(3):
                matches_of[0, m, i] = matches[m, i]
    for o in range(len(occ)):
        occ_of[0, o, 0], occ_of[0, o, 1] = occ[o, 0], occ[o, 1]
    nodes = 0
    expected, best, best_rate = limits.sure, 0, limits.sure / cost[0]
    here, path = 0, 1.0  # slot 0 is the root, slot i + 1 the node i
    ended = False
    while nodes < most:
        if depth_of[here] < room and not ended:
            known = mix(
                index, mixer, matches_of[here], n_matches_of[here], context,
                occ_of[here], n_occ_of[here], found,
            )  # fmt: skip
            if limits.chain:
                waiting = 0
            for i in range(known):
                value = path * probability[i]
                outside = token[i] < 0 or token[i] >= limits.vocabulary
                if outside or (limits.priced and value < LEAST_TRUST):
                    continue
                w_token[waiting], w_parent[waiting] = token[i], here
                w_trust[waiting], w_source[waiting] = value, source[i]
                waiting += 1
        elif limits.chain:
            break
        top = 0
        for i in range(1, waiting):
            if w_trust[i] > w_trust[top]:
                top = i
        if waiting == 0 or w_trust[top] < 0.0:  # all taken
            break
        parent, new, path = w_parent[top], w_token[top], w_trust[top]
        # no later node is likelier than this one: would even `most` of its kind not pay?
        if limits.priced and not _may_pay(expected, path, nodes, cost, limits.slope, best_rate):
            break
        w_trust[top] = -1.0
        out.tokens[r, nodes], out.parents[r, nodes] = new, parent - 1
        out.trust[r, nodes], out.source[r, nodes] = path, w_source[top]
        nodes += 1
        here = nodes
        expected += path
        if not limits.priced or expected / cost[nodes] > best_rate:
            best, best_rate = nodes, expected / cost[nodes]
        depth_of[here] = depth_of[parent] + 1
        ended = False
        for id_ in limits.eos:
            ended = ended or id_ == new
        if not ended:
            if mixer.rule == CALIBRATED:
                n_matches_of[here] = advance_spread(
                    index, matches_of[parent], n_matches_of[parent], new, ORDERS, matches_of[here]
                )
            else:
                n_matches_of[here] = advance(
                    index, matches_of[parent], n_matches_of[parent], new, matches_of[here]
                )
            if mixer.rule == BEST:  # one match is followed to its end, no other joins
                longer = n_matches_of[here] > 0 and n_matches_of[parent] > 0
                longer = longer and matches_of[here, 0, 0] == matches_of[parent, 0, 0] + 1
                n_matches_of[here] = 1 if longer else 0
            n_occ_of[here] = follow_occurrences(
                context, len(context), occ_of[parent], n_occ_of[parent], new, occ_of[here]
            )
    out.width[r] = best


@kernel
def _may_pay(expected, path, nodes, cost, slope, best_rate):
    """Whether nodes of probability `path`, at the flattest slope ahead, can beat the best rate."""
    most = len(cost) - 1
    one = expected + path > best_rate * (cost[nodes] + slope[nodes])
    more = most - nodes
    return one or expected + more * path > best_rate * (cost[nodes] + more * slope[nodes])
