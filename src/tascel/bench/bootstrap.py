"""How sure is a ratio of two totals over the same examples?"""

from __future__ import annotations

import random
from collections.abc import Sequence

RESAMPLES = 1000


def interval(over: Sequence[float], under: Sequence[float]) -> tuple[float, float]:
    """The 95 % paired-bootstrap interval of sum(over) / sum(under), examples drawn in pairs."""
    rng = random.Random(0)
    pairs = list(zip(over, under, strict=True))
    ratios: list[float] = []
    for _ in range(RESAMPLES):
        drawn = rng.choices(pairs, k=len(pairs))
        ratios.append(sum(o for o, _ in drawn) / sum(u for _, u in drawn))
    ratios.sort()
    return ratios[int(0.025 * RESAMPLES)], ratios[int(0.975 * RESAMPLES)]
