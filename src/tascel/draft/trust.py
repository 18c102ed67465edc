"""How often a candidate is right: counted on held-out traces, not believed.

For every candidate a source may propose, its trust cell is (source, order, match length, number of
occurrences, share of them). `count` walks held-out outputs with an index that has never seen their
group and counts hits. Sparse cells lean on their coarser neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.draft import kernels
from tascel.draft.context import Context
from tascel.draft.corpus import Corpus
from tascel.types import Ids

Counts = NDArray[np.int64]
_SHAPE = (2, kernels.ORDERS, kernels.DEPTHS, kernels.COUNTS, kernels.SHARES)
#: Pseudo-counts with which a sparse cell leans on its parent.
_LEAN = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """Raw counts, so that bundles can be merged by adding: i64[CELLS] and i64[bins], twice."""

    hits: Counts
    totals: Counts
    bin_hits: Counts
    bin_totals: Counts

    @staticmethod
    def unknown() -> Trust:
        """Nothing counted: shares are taken at half their worth."""
        cells = np.zeros(kernels.CELLS, np.int64)
        bins = np.zeros(kernels.RELIABILITY_BINS, np.int64)
        return Trust(cells, cells.copy(), bins, bins.copy())

    def table(self) -> NDArray[np.float64]:
        """Probability that a candidate of each cell is right: f64[CELLS].

        Each cell leans on the same cell at any match length, that on any number of occurrences,
        that on any order, and that on half the share itself.
        """
        hits = self.hits.reshape(_SHAPE).astype(np.float64)
        totals = self.totals.reshape(_SHAPE).astype(np.float64)
        belief = np.broadcast_to(kernels.SHARE_FLOORS / 2, _SHAPE)
        for axes in ((1, 2, 3), (2, 3), (2,), ()):
            hit = hits.sum(axes, keepdims=True)
            total = totals.sum(axes, keepdims=True)
            belief = np.broadcast_to((hit + _LEAN * belief) / (total + _LEAN), _SHAPE)
        return np.ascontiguousarray(belief).ravel()

    def reliability(self) -> NDArray[np.float64]:
        """How often the mixture was right, by what it said: f64[bins] at bin centres, rising."""
        bins = kernels.RELIABILITY_BINS
        said = (np.arange(bins) + 0.5) / bins
        seen = (self.bin_hits + 2 * _LEAN * said) / (self.bin_totals + 2 * _LEAN)
        return _rising(seen, self.bin_totals + 2 * _LEAN)


def count(
    outputs: Sequence[Ids],
    prompts: Sequence[Ids],
    folds: NDArray[np.int32],
    progress: Callable[[int], None] = lambda done: None,
) -> Trust:
    """Count trust: each output against an index without its fold.

    Args:
        outputs: ids of every trace's answer, closing id included; a sample of a task is enough.
        prompts: ids of their prompts, for the context source.
        folds: i32[n], the fold of every trace; similar traces share one.
        progress: called with the number of traces walked so far, each twice.
    """
    trust = Trust.unknown()
    indices: dict[int, Corpus] = {}
    for fold in np.unique(folds).tolist():
        indices[fold] = Corpus.of(o for o, f in zip(outputs, folds, strict=True) if f != fold)
    nothing = np.empty(0, np.float64)
    table, reliability = nothing, Trust.unknown().reliability()
    for walk in range(2):  # first the cells, then how reliable their mixture is
        for done, (output, prompt, fold) in enumerate(zip(outputs, prompts, folds, strict=True)):
            index = indices[int(fold)]
            context = Context(prompt, room=len(output))
            kernels.tally(
                index.text, index.array, output, context.tokens, context.length, context.lengths,
                trust.hits, trust.totals, table, reliability, trust.bin_hits, trust.bin_totals,
            )  # fmt: skip
            progress(walk * len(outputs) + done + 1)
        table = trust.table()
    return trust


def _rising(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """The nearest rising sequence: neighbours that fall are pooled (isotonic regression)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pool = (float(value), float(weight), 1)
        while pools and pools[-1][0] > pool[0]:
            v, w, n = pools.pop()
            both = w + pool[1]
            pool = ((v * w + pool[0] * pool[1]) / both, both, n + pool[2])
        pools.append(pool)
    return np.concatenate([np.full(n, value) for value, _, n in pools])
