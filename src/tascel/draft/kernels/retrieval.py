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

from tascel.compiled import kernel
from tascel.types import Ids

RAREST = 48  # features kept of a trace, and that make up a request's mass
VISITS = 65_536  # entries of lists that one search reads at most


class Lists(NamedTuple):
    """`starts` i32[F + 1], `traces` i32[P]: feature i stands in traces[starts[i] : starts[i + 1]].
    `weights` u16[F]: its worth, in whole numbers, so that sums are exact in any order.
    `masses` i32[n]: the weights of each trace's features, added up."""

    starts: Ids
    traces: Ids
    weights: NDArray[np.uint16]
    masses: Ids


@kernel
def nearest(
    lists: Lists,
    asked: NDArray[np.int64],
    mass: Any,
    left_out: NDArray[np.bool_],
    traces: Ids,
    similarity: NDArray[np.float32],
) -> int:
    """The traces with the highest weighted Jaccard index to a request, best first, then newest
    first; how many.

    `asked` i64[m]: which features the request has, in 0..F - 1, and `mass` the weight of others;
    `left_out` bool[<= n]; into `traces` i32[k] and `similarity` f32[k].
    """
    shared, asked_mass = _shared(lists, asked)
    found = 0
    for trace in range(len(shared) - 1, -1, -1):
        both = np.int64(shared[trace])
        if both > 0 and not (trace < len(left_out) and left_out[trace]):
            either = max(lists.masses[trace] + asked_mass + mass - both, both)
            found = _insert(traces, similarity, found, trace, np.float32(both / either))
    return found


@kernel
def _shared(lists, asked):
    """The weights of what each trace shares with the request, i32[n], and the request's own mass.
    The rarest features first, and none after `VISITS` entries."""
    weights = np.zeros(len(asked), np.int32)
    for i in range(len(asked)):
        if asked[i] < len(lists.weights):
            weights[i] = lists.weights[asked[i]]
    shared = np.zeros(len(lists.masses), np.int32)
    mass = np.int64(0)
    visits = 0
    for rank, i in enumerate(np.argsort(-weights, kind="mergesort")):
        lo, hi = _span(lists, asked[i])
        visits += hi - lo
        if visits > VISITS:
            break
        if rank < RAREST:
            mass += weights[i]
        for at in range(lo, hi):
            trace = lists.traces[at]
            if 0 <= trace < len(shared):
                shared[trace] += weights[i]
    return shared, mass


@kernel
def _span(lists, feature):
    """Where a feature's list begins and ends."""
    if feature + 1 >= len(lists.starts):
        return 0, 0
    lo = max(0, np.int64(lists.starts[feature]))
    return lo, max(lo, min(len(lists.traces), np.int64(lists.starts[feature + 1])))


@kernel
def _insert(traces, similarity, found, trace, like):
    """Keep the best len(traces) sorted; earlier wins among equals."""
    place = found
    while place > 0 and similarity[place - 1] < like:
        place -= 1
    if place >= len(traces):
        return found
    last = min(found, len(traces) - 1)
    for i in range(last, place, -1):
        traces[i], similarity[i] = traces[i - 1], similarity[i - 1]
    traces[place], similarity[place] = trace, like
    return min(found + 1, len(traces))
