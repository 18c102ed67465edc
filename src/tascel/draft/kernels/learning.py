"""How far to believe a match: evidence learned from what held-out traces really said.

A conditional logit model fitted by stochastic gradient. A cell's evidence is the sum of four
weights, of its share alone, with its count, with its depth, and with both, so that a sparse cell
leans on coarser ones.
"""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import kernel, part, piece
from tascel.draft.kernels.evidence import (
    CANDIDATES,
    CELLS,
    COUNTS,
    DEPTHS,
    GROUPS,
    SHARES,
    candidates,
    softmax,
    weigh,
)
from tascel.draft.kernels.gathering import gather
from tascel.draft.kernels.matching import Index, Ints
from tascel.draft.kernels.mixing import Mixer
from tascel.draft.kernels.placing import (
    CARRIED,
    STARTS,
    Sources,
    asked_of,
    move,
    places,
    root,
    spare,
)

Cells = NDArray[np.int16]
Floats = NDArray[np.float64]


class Seen(NamedTuple):
    """What stood to choose from at P positions, M candidates in all. `cells` i16[M, GROUPS] and
    `nothing` i16[P, GROUPS] as `gather` says; the candidates of position p are those from
    `start[p]` i64[P + 1] on; `right` i16[P] is the one that came, -1 if none."""

    cells: Cells
    nothing: Cells
    start: NDArray[np.int64]
    right: NDArray[np.int16]


@kernel
def observe(
    text: Any, array: Any, tops: Any, steps: Any,
    t_text: Any, t_array: Any, t_tops: Any, t_steps: Any, slot: Any, frozen: Any, pointer: Any,
    matches: Any, context: Any, lengths: Any, desk: Any, facts: Any, output: Ints,
) -> Seen:  # fmt: skip
    """Walk a held-out `output` as a request that has just started: `observe(*sources, ...)`."""
    sources = Sources(
        Index(text, array, tops, steps), Index(t_text, t_array, t_tops, t_steps), slot, frozen,
        pointer,
    )  # fmt: skip
    positions = len(output)
    cells = np.empty((positions * CANDIDATES, GROUPS), np.int16)
    nothing = np.empty((positions, GROUPS), np.int16)
    start = np.zeros(positions + 1, np.int64)
    right = np.full(positions, -1, np.int16)
    out, at, room = candidates(facts[STARTS]), places(1, CARRIED), spare()
    asked = asked_of(matches, context, lengths, desk, facts)
    for p in range(positions):
        root(True, asked, at)
        known = gather(sources, asked, at, np.int64(0), out)
        for g in range(GROUPS):
            nothing[p, g] = out.nothing[g]
        for i in range(known):
            for g in range(GROUPS):
                cells[start[p] + i, g] = out.cells[i, g]
            if out.token[i] == output[p]:
                right[p] = i
        start[p + 1] = start[p] + known
        move(sources, asked, room, output[p])
    return Seen(cells[: start[positions]].copy(), nothing, start, right)


@kernel
def learn(
    seen: Seen,
    order: NDArray[np.int64],
    rate: float,
    decay: float,
    weights: Floats,
    squares: Floats,
) -> None:
    """One pass over positions in `order`. `weights` and `squares` f64[2, 4, CELLS]: evidence and
    escape at four levels, and the gradients' sums (Adagrad, Duchi et al. 2011); `decay` is L2."""
    odds = np.empty(CANDIDATES, np.float64)
    for p in order:
        none = _believed(seen, p, weights, odds)
        right = seen.right[p]
        first, known = seen.start[p], seen.start[p + 1] - seen.start[p]
        for g in range(GROUPS):
            best = seen.nothing[p, g]
            if best < 0:
                continue
            unnamed, rest = best - best % SHARES, 0.0
            for i in range(known):
                cell, error = seen.cells[first + i, g], odds[i] - (right == i)
                if cell == unnamed:
                    rest += error
                else:
                    _step(weights[0], squares[0], cell, error, rate, decay)
            _step(weights[0], squares[0], unnamed, rest, rate, decay)
            _step(weights[1], squares[1], best, none - (right < 0), rate, decay)


@part
def _believed(seen, p, weights, odds):
    """The probability of each candidate at position p as far as it was learned; returns that of
    none. What a group does not name is most of what there is, and all the same cell."""
    first, known = seen.start[p], seen.start[p + 1] - seen.start[p]
    odds[:known] = 0.0
    none = 0.0
    for g in range(GROUPS):
        best = seen.nothing[p, g]
        if best < 0:
            continue
        none += _sum(weights[1], best)
        unnamed = best - best % SHARES
        of_unnamed = _sum(weights[0], unnamed)
        for i in range(known):
            cell = seen.cells[first + i, g]
            odds[i] += of_unnamed if cell == unnamed else _sum(weights[0], cell)
    return softmax(odds, known, none)


@kernel
def move_on(
    text: Any, array: Any, tops: Any, steps: Any,
    t_text: Any, t_array: Any, t_tops: Any, t_steps: Any, slot: Any, frozen: Any, pointer: Any,
    rule: Any, order: Any, least: Any, weight: Any, trust: Any, drift: Any,
    matches: Any, context: Any, lengths: Any, desk: Any, facts: Any,
    written: Any, rate: float, fade: float,
) -> None:  # fmt: skip
    """Move on by the tokens `written` i32[n]: `move_on(*sources, *mixer, ...)`. Drift moves towards
    what came, at `rate`, while older moves `fade`."""
    sources = Sources(
        Index(text, array, tops, steps), Index(t_text, t_array, t_tops, t_steps), slot, frozen,
        pointer,
    )  # fmt: skip
    mixer = Mixer(rule, order, least, weight, trust, drift)
    out, at, room = candidates(facts[STARTS]), places(1, CARRIED), spare()
    asked = asked_of(matches, context, lengths, desk, facts)
    for token in written:
        if rate > 0.0:
            _drift(sources, mixer, asked, at, out, token, rate, fade)
        move(sources, asked, room, token)


@piece
def _drift(sources, mixer, asked, at, out, token, rate, fade):
    """One gradient step on what `weigh` said of the `token` that came."""
    root(True, asked, at)
    known = gather(sources, asked, at, np.int64(0), out)
    none = weigh(mixer.trust, mixer.drift, known, out)
    cells, nothing, named = out.cells, out.nothing, out.token
    drift = mixer.drift
    for kind in range(2):
        for g in range(GROUPS):
            for share in range(SHARES):
                drift[kind, g, share] *= 1.0 - fade
    came = False
    for i in range(known):
        came = came or named[i] == token
        error = out.probability[i] - (named[i] == token)
        for g in range(GROUPS):
            if nothing[g] >= 0:
                drift[0, g, cells[i, g] % SHARES] -= rate * error
    for g in range(GROUPS):
        if nothing[g] >= 0:
            drift[1, g, nothing[g] % SHARES] -= rate * (none - (not came))


@kernel
def fold(weights: Floats, trust: NDArray[np.float32]) -> None:
    """The four levels summed up into f32[2, CELLS]."""
    for kind in range(2):
        for cell in range(CELLS):
            trust[kind, cell] = _sum(weights[kind], cell)


@part
def _levels(cell):
    """Where a cell's four weights stand."""
    cell = np.int64(cell)
    share = cell % SHARES
    count = cell // SHARES % COUNTS
    depth = cell // (SHARES * COUNTS) % DEPTHS
    group = cell // (SHARES * COUNTS * DEPTHS)
    return (
        group * SHARES + share,
        (group * COUNTS + count) * SHARES + share,
        (group * DEPTHS + depth) * SHARES + share,
        cell,
    )


@part
def _sum(weights, cell):
    a, b, c, d = _levels(cell)
    return weights[0, a] + weights[1, b] + weights[2, c] + weights[3, d]


@part
def _step(weights, squares, cell, error, rate, decay):
    if abs(error) < 1e-4:
        return
    levels = _levels(cell)
    for level in range(4):
        at = levels[level]
        gradient = error + decay * weights[level, at]
        squares[level, at] += gradient * gradient
        weights[level, at] -= rate * gradient / np.sqrt(squares[level, at] + 0.01)
