"""The n-grams of a corpus, best first, while merges destroy them.

Merging makes no new occurrence of an n-gram of old tokens, so its count only ever falls. And a new
token's occurrences all come to be in one merge, so the n-grams that hold it are found then. Hence
an old count is a bound, and the best n-gram is known as soon as its own count is taken again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tascel.adapt.tokens import spans
from tascel.adapt.tokens.spans import Ints, Spans


@dataclass(frozen=True)
class _Batch:
    """N-grams of one length that came to be together, best first.

    `tokens` i32[G, n]; `rewards` i64[G] as they were; n-gram g began at places `begin[g]` to
    `end[g]` of `places`, which ascend within it.
    """

    tokens: Ints
    rewards: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    places: Ints


class Ngrams:
    """The n-grams of 2 to `n_max` tokens with `least_uses` or more. Iterate over them: each time
    the best that was not seen yet, as the corpus then is.

    Best is the highest reward: uses without overlap times tokens saved by each use (TASC,
    arXiv 2602.24174, Algorithm 1); of equals, the one whose ids are smallest.
    """

    def __init__(self, corpus: Spans, n_max: int, least_uses: int) -> None:
        self._corpus, self._n_max, self._least = corpus, n_max, least_uses
        self._batches: list[_Batch] = []
        self._next: list[int] = []  # of each batch: the best that is not in the heap yet
        self._heap: list[tuple[int, tuple[int, ...], int, int]] = []
        self.enter(np.flatnonzero(corpus.token >= 0).astype(np.int32))

    def enter(self, places: Ints) -> None:
        """Take in the n-grams that hold one of `places`, where new tokens stand; these ascend."""
        for n in range(2, self._n_max + 1):
            starts = spans.starts_around(self._corpus, places, n)
            self._batches.append(_batch(self._corpus, starts, n, self._least))
            self._next.append(0)
            self._show(len(self._batches) - 1)

    def __iter__(self) -> Iterator[tuple[Ints, int, Ints]]:
        """N-gram i32[n], its uses, and the places where alone it may begin."""
        while self._heap:
            _, tokens, at, row = heapq.heappop(self._heap)
            batch = self._batches[at]
            if row + 1 == self._next[at]:
                self._show(at)
            places = batch.places[batch.begin[row] : batch.end[row]]
            uses = spans.uses(self._corpus, places, batch.tokens[row])
            now = (-uses * (len(tokens) - 1), tokens, at, row)
            if uses < self._least:
                continue
            if self._heap and now > self._heap[0]:
                heapq.heappush(self._heap, now)
            else:
                yield batch.tokens[row], uses, places

    def _show(self, at: int) -> None:
        """Put a batch's next n-gram into the heap: those behind it are no better."""
        batch, row = self._batches[at], self._next[at]
        if row < len(batch.rewards):
            tokens = tuple(batch.tokens[row].tolist())
            heapq.heappush(self._heap, (-int(batch.rewards[row]), tokens, at, row))
            self._next[at] += 1


def _batch(corpus: Spans, starts: Ints, n: int, least_uses: int) -> _Batch:
    """The n-grams that begin at `starts`, which ascend."""
    rows = spans.rows(corpus, starts, n)
    order = _sorted(rows)
    rows, places = rows[order], starts[order]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    begin = np.flatnonzero(first)
    end = np.append(begin[1:], len(rows))
    uses = spans.uses_of_groups(corpus, places, begin, end, n)
    kept = np.flatnonzero(uses >= least_uses)
    best = kept[np.argsort(-uses[kept], kind="stable")]
    return _Batch(rows[begin[best]], uses[best] * (n - 1), begin[best], end[best], places)


def _sorted(rows: Ints) -> NDArray[np.int64]:
    """The stable order of `rows`, two ids at a time."""
    wide = rows.astype(np.int64)
    keys = [
        wide[:, at] << 32 | wide[:, at + 1] if at + 1 < wide.shape[1] else wide[:, at]
        for at in range(0, wide.shape[1], 2)
    ]
    return np.lexsort(keys[::-1])
