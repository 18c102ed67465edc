"""From candidates to a draft: best-first, as long as the next node can still pay."""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import kernel, part, piece
from tascel.draft.kernels.evidence import CANDIDATES, candidates
from tascel.draft.kernels.matching import MATCHES, Index, Ints, Places
from tascel.draft.kernels.mixing import BEST, CALIBRATED, Mixer, mix
from tascel.draft.kernels.placing import (
    CARRIED,
    ROOM,
    STARTS,
    Sources,
    asked_of,
    follow,
    places,
    root,
)

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
    """The state of R requests. `matches` i64[R, 2, MATCHES, 3]; `context`, `lengths` and `desk` of
    all rows joined; `facts` i64[R, FACTS] says how much of it is whose (see `placing`)."""

    matches: Places
    context: Ints
    lengths: Ints
    desk: Ints
    facts: Places


class Grown(NamedTuple):
    """Drafts: `tokens` i32[R, N], `parents` i16[R, N], `trust` f32[R, N], `source` u8[R, N], of
    which `width` i32[R] nodes are offered."""

    tokens: Ints
    parents: NDArray[np.int16]
    trust: NDArray[np.float32]
    source: NDArray[np.uint8]
    width: Ints


class Waiting(NamedTuple):
    """Candidates that wait to become nodes, at most W: `depth` is that of the node."""

    token: Ints
    parent: Ints
    depth: Ints
    trust: NDArray[np.float64]
    source: NDArray[np.uint8]


@kernel
def _waiting(room: int) -> Waiting:
    return Waiting(
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.float64),
        np.empty(room, np.uint8),
    )


@kernel
def grow(
    text: Any, array: Any, tops: Any, steps: Any,
    t_text: Any, t_array: Any, t_tops: Any, t_steps: Any, slot: Any, frozen: Any, pointer: Any,
    rule: Any, order: Any, least: Any, weight: Any, trust: Any, drift: Any,
    cost: Any, slope: Any, sure: Any, priced: Any, chain: Any, eos: Any, vocabulary: Any,
    matches: Any, context: Any, lengths: Any, desk: Any, facts: Any,
    tokens: Any, parents: Any, trusts: Any, source: Any, width: Any,
) -> None:  # fmt: skip
    """Draft for every row: `grow(*sources, *mixer, *limits, *rows, *grown)`. The arguments are flat
    since numba needs three microseconds more to take them as tuples."""
    index, templates = Index(text, array, tops, steps), Index(t_text, t_array, t_tops, t_steps)
    sources = Sources(index, templates, slot, frozen, pointer)
    mixer = Mixer(rule, order, least, weight, trust, drift)
    limits = Limits(cost, slope, sure, priced, chain, eos, vocabulary)
    out = Grown(tokens, parents, trusts, source, width)
    at = places(len(cost), CARRIED if rule == CALIBRATED else MATCHES)
    found, waiting = candidates(facts[:, STARTS].max()), _waiting(len(cost) * CANDIDATES)
    for r in range(len(facts)):
        asked = asked_of(matches[r], context, lengths, desk, facts[r])
        found.noted[0] = 0
        _grow(sources, mixer, limits, asked, at, found, waiting, out, r)


@piece
def _grow(sources, mixer, limits, asked, at, found, waiting, out, r):
    """Grow row r's draft: of the best-first trees of 0…N nodes the one with the most expected
    tokens per millisecond is offered."""
    cost, room = limits.cost, asked.facts[ROOM]
    most = len(cost) - 1
    narrow = mixer.rule == CALIBRATED
    root(narrow, asked, at)  # 0 is the root, i + 1 the node i
    n_waiting, depth = 0, 0
    token, probability, source = found.token, found.probability, found.source
    nodes = 0
    expected, best, best_rate = limits.sure, 0, limits.sure / cost[0]
    here, path = np.int64(0), 1.0
    ended = False
    while nodes < most:
        if depth < room and not ended:
            known = mix(sources, mixer, asked, at, here, found)
            if limits.chain:
                n_waiting = 0
            for i in range(known):
                value = path * probability[i]
                outside = token[i] < 0 or token[i] >= limits.vocabulary
                if outside or (limits.priced and value < LEAST_TRUST):
                    continue
                waiting.token[n_waiting], waiting.parent[n_waiting] = token[i], here
                waiting.trust[n_waiting], waiting.source[n_waiting] = value, source[i]
                waiting.depth[n_waiting] = depth + 1
                n_waiting += 1
        elif limits.chain:
            break
        top = 0
        for i in range(1, n_waiting):
            if waiting.trust[i] > waiting.trust[top]:
                top = i
        if n_waiting == 0 or waiting.trust[top] < 0.0:  # all taken
            break
        parent, new, path = waiting.parent[top], waiting.token[top], waiting.trust[top]
        # no later node is likelier than this one: would even `most` of its kind not pay?
        if limits.priced and not _may_pay(expected, path, nodes, cost, limits.slope, best_rate):
            break
        waiting.trust[top] = -1.0
        out.tokens[r, nodes], out.parents[r, nodes] = new, parent - 1
        out.trust[r, nodes], out.source[r, nodes] = path, waiting.source[top]
        nodes += 1
        here = nodes
        expected += path
        if not limits.priced or expected / cost[nodes] > best_rate:
            best, best_rate = nodes, expected / cost[nodes]
        depth = waiting.depth[top]
        ended = False
        for id_ in limits.eos:
            ended = ended or id_ == new
        if not ended:
            follow(sources, asked, narrow, at, parent, here, new)
            if mixer.rule == BEST:  # one match is followed to its end, no other joins
                longer = at.n_matches[here] > 0 and at.n_matches[parent] > 0
                longer = longer and at.matches[here, 0, 0] == at.matches[parent, 0, 0] + 1
                at.n_matches[here] = 1 if longer else 0
    out.width[r] = best


@part
def _may_pay(expected, path, nodes, cost, slope, best_rate):
    """Whether nodes of probability `path`, at the flattest slope ahead, can beat the best rate."""
    most = len(cost) - 1
    one = expected + path > best_rate * (cost[nodes] + slope[nodes])
    more = most - nodes
    return one or expected + more * path > best_rate * (cost[nodes] + more * slope[nodes])
