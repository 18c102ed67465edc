"""The past prompts that are most like this one, by the rare features that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.draft.features import Features
from tascel.draft.kernels.retrieval import RAREST, Lists, nearest
from tascel.types import Ids

BYTES = 250  # of the index for each trace; where they do not suffice, it keeps fewer than `RAREST`
#: So many features of a trace at most that no other has: they find a prompt that comes again.
ALONE = 2
#: Features that more traces hold than this times the root of their number tell nothing: shared
#: instructions, templates, lists of tools. So the work of a search grows with that root.
COMMON = 4
SCALE = 64  # of weights: from 31 for half of all traces to 27,000 for one of a thousand million
_CHUNK = 4096  # traces counted at a time

#: Distinct features, sorted, and how many traces hold each.
_Counted = tuple[Features, NDArray[np.int64]]

_NOBODY = np.zeros(0, np.bool_)
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """An inverted index of traces by their rarest features, at most 250 bytes a trace.

    `keys` u32[F] sorted: the features; `weights` u16[F]: how rare they are among all traces, 0 for
    those too common to tell anything; `starts` i32[F + 1] and `traces` i32[P]: feature i is among
    the rarest of the traces traces[starts[i] : starts[i + 1]]; `masses` i32[n]: the weights of a
    trace's features, added up. None is trusted: what is read is checked.
    """

    keys: Features
    weights: NDArray[np.uint16]
    starts: Ids
    traces: Ids
    masses: Ids

    @staticmethod
    def of(features: Sequence[Features]) -> Neighbours:
        """Index traces by their features: trace i has the distinct features[i] u32[m]."""
        count = len(features)
        keys, holders = _holders(features)
        common = holders > COMMON * np.sqrt(count)
        weights = np.where(common, 0, _weight(holders, count)).astype(np.uint16)
        picked = [_telling(np.searchsorted(keys, some), weights, holders) for some in features]
        lengths = [len(some) for some in picked]
        owner = np.repeat(np.arange(count, dtype=np.int32), lengths)
        rank = np.concatenate([_NONE, *map(np.arange, lengths)])
        number = np.concatenate([_NONE, *picked])

        most = RAREST
        while _bytes(number[rank < most]) > (BYTES - 4) * count:
            most -= 1
        owner, number = owner[rank < most], number[rank < most]
        sizes = np.bincount(number, minlength=len(keys))
        kept = common | (sizes > 0)
        starts = np.cumsum(np.append(0, sizes[kept])).astype(np.int32)
        traces = owner[np.argsort(number, kind="stable")]
        masses = np.bincount(owner, weights[number], minlength=count).astype(np.int32)
        return Neighbours(keys[kept], weights[kept], starts, traces, masses)

    @cached_property
    def lists(self) -> Lists:
        """As the kernel takes it: read-only like a mapped file, so that it compiles once."""
        starts, traces, masses = self.starts.view(), self.traces.view(), self.masses.view()
        weights = self.weights.view()
        for view in (starts, traces, weights, masses):
            view.flags.writeable = False
        return Lists(starts, traces, weights, masses)

    def find(
        self, features: Features, k: int, without: NDArray[np.bool_] | None = None
    ) -> tuple[Ids, NDArray[np.float32]]:
        """The at most `k` traces most like a prompt with these features: i32[<=k], best first and
        newest first among equals, and how like it they are, f32[<=k] in 0..1.

        The likeness is a weighted Jaccard index: the weight of what both have over the weight of
        what either has, features weighing by their rarity. So it compares between requests. A
        request weighs as much as its `RAREST` rarest features, and at most so many that the index
        does not know, each as if one trace held it. `without[i]` leaves trace i out.
        """
        at, known = np.searchsorted(self.keys, features), np.zeros(len(features), np.bool_)
        if len(self.keys):
            known = self.keys.take(at, mode="clip") == features
        traces, similarity = np.empty(k, np.int32), np.empty(k, np.float32)
        unknown = min(len(features) - int(known.sum()), RAREST) * int(_weight(1, len(self)))
        left_out = _NOBODY if without is None else without
        found = nearest(self.lists, at[known], unknown, left_out, traces, similarity)
        return traces[:found], similarity[:found]

    def __len__(self) -> int:
        return len(self.masses)


def _holders(features: Sequence[Features]) -> tuple[Features, NDArray[np.int64]]:
    """All distinct features, sorted, and how many traces hold each."""
    runs: list[_Counted] = []
    for first in range(0, len(features), _CHUNK):
        runs.append(np.unique(np.concatenate(features[first : first + _CHUNK]), return_counts=True))
        # each is longer than twice the next: all in all a feature is merged as often as that halves
        while len(runs) > 1 and len(runs[-2][0]) <= 2 * len(runs[-1][0]):
            runs.append(_merged(runs.pop(), runs.pop()))
    while len(runs) > 1:
        runs.append(_merged(runs.pop(), runs.pop()))
    return runs[0] if runs else (np.zeros(0, np.uint32), _NONE)


def _merged(a: _Counted, b: _Counted) -> _Counted:
    keys, where = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    return keys, np.bincount(where, np.concatenate([a[1], b[1]])).astype(np.int64)


def _telling(
    features: NDArray[np.int64], weights: NDArray[np.uint16], holders: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of one trace's features those to keep, rarest first, up to `RAREST`."""
    rarest = features[np.argsort(holders[features], kind="stable")]
    alone = rarest[holders[rarest] == 1]
    several = rarest[(holders[rarest] > 1) & (weights[rarest] > 0)]
    return np.concatenate([alone[:ALONE], several])[:RAREST]


def _weight(holders: Any, count: int) -> Any:
    """What features are worth that so many of `count` traces hold: the logarithm of their inverse
    frequency, squared, in `SCALE`-ths."""
    return np.rint(SCALE * np.log1p(count / holders) ** 2)


def _bytes(number: NDArray[np.int64]) -> int:
    """What an index of these features takes: a key, a weight and a start for each, and a trace for
    each time."""
    return 4 * len(number) + 10 * len(np.unique(number))
