"""How sure is a ratio of two totals over the same examples?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 1000


def interval(over: Sequence[float], under: Sequence[float]) -> tuple[float, float]:
    """The 95 % paired-bootstrap interval of sum(over) / sum(under), examples drawn in pairs."""
    rng = np.random.default_rng(0)
    pairs = np.array([over, under], np.float64)
    count = pairs.shape[1]
    ratios = np.empty(RESAMPLES)
    for sample in range(RESAMPLES):
        above, below = pairs[:, rng.integers(count, size=count)].sum(axis=1)
        ratios[sample] = above / below if below else 1.0  # nothing beside nothing
    ratios.sort()
    return float(ratios[int(0.025 * RESAMPLES)]), float(ratios[int(0.975 * RESAMPLES)])
