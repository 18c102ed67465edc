"""The past prompts that are most like this one, by the rare features that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.draft.features import Features
from tascel.draft.kernels.retrieval import Floats, Lists, nearest
from tascel.types import Ids

RAREST = 48  # features kept of a trace, and looked up of a request
COMMON = 0.1  # a feature of more traces than this share tells nothing
FEW = 8  # unless no more than these hold it

_NOBODY = np.zeros(0, np.bool_)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """An inverted index of traces by their rarest features, at most 250 bytes a trace.

    `keys` u32[F] sorted: the features; `starts` i32[F + 1] and `traces` i32[P]: feature i stands
    in the traces traces[starts[i] : starts[i + 1]], in none where it is too common to tell
    anything; `norms` f32[n]. None is trusted: the kernel checks what it reads.
    """

    keys: Features
    starts: Ids
    traces: Ids
    norms: Floats

    @staticmethod
    def of(features: Sequence[Features]) -> Neighbours:
        """Index traces by their features: trace i has the distinct features[i] u32[m]."""
        count = len(features)
        owner = np.repeat(np.arange(count, dtype=np.int32), [len(some) for some in features])
        held = np.concatenate([np.zeros(0, np.uint32), *features])
        keys, number, holders = np.unique(held, return_inverse=True, return_counts=True)
        order = np.lexsort((number, holders[number], owner))
        owner, number = owner[order], number[order]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        common = holders > max(FEW, COMMON * count)
        kept = (rank < RAREST) & ~common[number]
        owner, number = owner[kept], number[kept]

        sizes = np.bincount(number, minlength=len(keys))
        known = (sizes > 0) | common
        starts = np.concatenate([[0], np.cumsum(sizes[known])]).astype(np.int32)
        traces = owner[np.argsort(number, kind="stable")]
        squares = _weights(sizes[number], count)
        norms = np.sqrt(np.bincount(owner, squares, minlength=count)).astype(np.float32)
        return Neighbours(keys[known], starts, traces, norms)

    @cached_property
    def lists(self) -> Lists:
        """As the kernel takes it: read-only like a mapped file, so that it compiles once."""
        views = self.starts.view(), self.traces.view(), self.norms.view()
        for view in views:
            view.flags.writeable = False
        return Lists(*views)

    def find(
        self, features: Features, k: int, without: NDArray[np.bool_] | None = None
    ) -> tuple[Ids, Floats]:
        """The at most `k` traces most like a prompt with these features: i32[<=k], best first and
        newest first among equals, and how like it they are, f32[<=k] in 0..1.

        The likeness is the cosine of both prompts' features, a shared one counting by how rare it
        is: comparable between requests. `without[i]` leaves trace i out.
        """
        at = np.searchsorted(self.keys, features)
        new = np.ones(len(features), np.bool_)
        inside = at < len(self.keys)
        new[inside] = self.keys[at[inside]] != features[inside]
        known = at[~new & (at + 1 < len(self.starts))]
        sizes = np.diff(self.starts)[known] if len(self.starts) > 1 else known
        known, sizes = known[sizes > 0], sizes[sizes > 0]
        rarest = np.argsort(sizes, kind="stable")[:RAREST]
        known, squares = known[rarest], _weights(sizes[rarest], len(self))
        unknown = min(int(new.sum()), RAREST - len(known)) * _weights(np.ones(1), len(self))[0]
        norm = np.float32(np.sqrt(squares.sum() + unknown))
        traces, similarity = np.empty(k, np.int32), np.empty(k, np.float32)
        left_out = _NOBODY if without is None else without
        found = nearest(self.lists, known, squares, norm, left_out, traces, similarity)
        return traces[:found], similarity[:found]

    def __len__(self) -> int:
        return len(self.norms)


def _weights(sizes: NDArray[Any], count: int) -> Floats:
    """What it is worth to share a feature that so many of `count` traces hold."""
    return np.square(np.log1p(count / sizes)).astype(np.float32)
