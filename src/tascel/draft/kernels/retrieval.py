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
from tascel.types import Ids

VISITS = 65_536  # entries of lists that one search reads at most
SCALE = 64  # of weights, which are whole numbers: sums are exact in any order


class Lists(NamedTuple):
    """`starts` i32[F + 1], `traces` i32[P]: feature i stands in traces[starts[i] : starts[i + 1]].
    `masses` i32[n]: the weights of each trace's features, added up."""

    starts: Ids
    traces: Ids
    masses: Ids


@kernel
def nearest(
    lists: Lists,
    asked: NDArray[np.int64],
    unknown: Any,
    left_out: NDArray[np.bool_],
    traces: Ids,
    similarity: NDArray[np.float32],
) -> int:
    """The traces with the highest weighted Jaccard index to a request, best first, then newest
    first; how many.

    `asked` i64[m]: which features the request has, and `unknown` others; `left_out` bool[<= n];
    into `traces` i32[k] and `similarity` f32[k].
    """
    shared, asked_mass = _shared(lists, asked)
    asked_mass += unknown * np.int64(weight(1, len(shared)))
    found = 0
    for trace in range(len(shared) - 1, -1, -1):
        both = shared[trace]
        if both > 0 and not (trace < len(left_out) and left_out[trace]):
            either = max(np.int64(lists.masses[trace]) + asked_mass - both, np.int64(both))
            found = _insert(traces, similarity, found, trace, np.float32(both / either))
    return found


@kernel
def weight(holders: Any, count: Any) -> Any:
    """What features are worth that so many of `count` traces hold: their inverse frequency, its
    logarithm squared."""
    return np.rint(SCALE * np.log1p(count / holders) ** 2)


@kernel
def _shared(lists, asked):
    """The weights of what each trace shares with the request, i32[n], and the request's own mass.
    The rarest features first, and none after `VISITS` entries."""
    sizes = np.empty(len(asked), np.int64)
    for i in range(len(asked)):
        lo, hi = _span(lists, asked[i])
        sizes[i] = hi - lo
    shared = np.zeros(len(lists.masses), np.int32)
    asked_mass = np.int64(0)
    visits = 0
    for i in np.argsort(sizes, kind="mergesort"):
        visits += sizes[i]
        if sizes[i] == 0:
            continue
        if visits > VISITS:
            break
        worth = np.int32(weight(sizes[i], len(shared)))
        asked_mass += worth
        lo, hi = _span(lists, asked[i])
        for at in range(lo, hi):
            trace = lists.traces[at]
            if 0 <= trace < len(shared):
                shared[trace] += worth
    return shared, asked_mass


@kernel
def _span(lists, feature):
    """Where a feature's list begins and ends."""
    if feature < 0 or feature + 1 >= len(lists.starts):
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
