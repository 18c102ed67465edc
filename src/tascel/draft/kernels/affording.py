"""How much of each row's draft can the batch's pass afford?"""

# pyright: basic

from __future__ import annotations

from typing import Any

import numpy as np

from tascel.compiled import kernel

MOST = np.finfo(np.float32).max


@kernel
def afford(trusts: Any, sizes: Any, sure: Any, cost: Any, counts: Any) -> None:
    """The first `counts` i64[R] nodes of every row make the pass yield most tokens per millisecond.

    `trusts` f32[n] of the rows' nodes, of which there are `sizes` i64[R]; a node is trusted no more
    than any before it. The likeliest first, of equals the first row's.
    """
    rows, nodes = len(sizes), min(len(trusts), len(cost) - 1)
    at = np.empty(rows, np.int64)  # each row's next node
    ahead = np.empty(rows, np.float32)  # and how far it is trusted: -inf behind the last
    end = 0
    for r in range(rows):
        at[r] = end
        end += sizes[r]
        ahead[r] = _trust(trusts, at[r], end, MOST)
    taken = np.empty(rows, np.int64)
    for r in range(rows):
        taken[r] = counts[r] = 0
    best, total = sure / cost[0], 0.0
    for node in range(nodes):
        top = 0
        for r in range(1, rows):
            if ahead[r] > ahead[top]:
                top = r
        total += np.float64(ahead[top])
        taken[top] += 1
        at[top] += 1
        last = at[top] - taken[top] + sizes[top]
        ahead[top] = _trust(trusts, at[top], last, ahead[top])
        if (sure + total) / cost[node + 1] > best:
            best = (sure + total) / cost[node + 1]
            for r in range(rows):
                counts[r] = taken[r]


@kernel
def _trust(trusts, node, end, most):
    """How far a node is trusted: what is no number, not at all."""
    if node >= end:
        return np.float32(-np.inf)
    trust = trusts[node]
    if np.isnan(trust):
        trust = np.float32(0.0)
    return min(max(trust, -MOST), most)
