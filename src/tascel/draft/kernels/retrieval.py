"""Which past traces share the most telling features with a request?

An inverted index (Zobel and Moffat, "Inverted files for text search engines", 2006): each feature
has the list of traces that hold it. The index comes from a file and is not trusted: lists and
traces are checked where they are read, and the work is bounded whatever they say.
"""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.draft.kernels import kernel

Floats = NDArray[np.float32]

VISITS = 65_536  # entries of lists that one search reads at most


class Lists(NamedTuple):
    """`starts` i32[F + 1], `traces` i32[P]: feature i stands in traces[starts[i] : starts[i + 1]].
    `norms` f32[n]: the length of each trace's vector of weights."""

    starts: NDArray[np.int32]
    traces: NDArray[np.int32]
    norms: Floats


@kernel
def nearest(
    lists: Lists,
    asked: NDArray[np.int64],
    weights: Floats,
    norm: Any,
    left_out: NDArray[np.bool_],
    traces: NDArray[np.int32],
    similarity: Floats,
) -> int:
    """The traces with the highest cosine to a request, best first, then newest; how many.

    `asked` i64[m]: the request's features by number, rarest first; `weights` f32[m]: a match's
    worth, `norm` the request's length; `left_out` bool[<= n]; into `traces` i32[k], `similarity`
    f32[k].
    """
    scores = np.zeros(len(lists.norms), np.float32)
    visits = 0
    for i in range(len(asked)):
        lo, hi = span(lists, asked[i])
        visits += hi - lo
        if visits > VISITS:
            break
        for at in range(lo, hi):
            trace = lists.traces[at]
            if 0 <= trace < len(scores):
                scores[trace] += weights[i]
    found = 0
    for trace in range(len(scores) - 1, -1, -1):
        if scores[trace] > 0 and not (trace < len(left_out) and left_out[trace]):
            cosine = min(scores[trace] / (norm * lists.norms[trace]), np.float32(1))
            found = _insert(traces, similarity, found, trace, cosine)
    return found


@kernel
def span(lists, feature):
    """Where a feature's list begins and ends."""
    if feature < 0 or feature + 1 >= len(lists.starts):
        return 0, 0
    lo = max(0, lists.starts[feature])
    return lo, max(lo, min(len(lists.traces), lists.starts[feature + 1]))


@kernel
def _insert(traces, similarity, found, trace, cosine):
    """Keep the best len(traces) sorted; earlier wins among equals."""
    place = found
    while place > 0 and similarity[place - 1] < cosine:
        place -= 1
    if place >= len(traces) or not cosine > 0:
        return found
    last = min(found, len(traces) - 1)
    for i in range(last, place, -1):
        traces[i], similarity[i] = traces[i - 1], similarity[i - 1]
    traces[place], similarity[place] = trace, cosine
    return min(found + 1, len(traces))
