"""How far to believe a model's probabilities when it drafts for another: counted, not assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.errors import BundleError

#: Upper edges of the bins of probability but for the last, which ends at 1.
EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
BINS = len(EDGES) + 1
#: Places in a chain that are told apart; the last stands for all beyond.
DEPTHS = 4
#: A draft's own probability counts as so many tokens seen; before any was, so large a share of its
#: tokens is expected to be right.
PRIOR, EXPECTED = 8.0, 0.7
#: What was counted on held-out answers is taken as so many tokens in a cell at most, so that new
#: traffic is heard.
MOST = 200.0
#: What this process saw fades: half after 70 more tokens in the same cell.
FADE = 0.99

Counts = NDArray[np.float64]


class Confidence:
    """The share of a draft's tokens that were right, by its probability and by depth in the chain.

    `counts` f64[2, DEPTHS, BINS]: tokens that were right, and all, on held-out answers; none if not
    given. A share is of tokens whose whole chain before them was right. It goes on learning from
    what is written; `forget` undoes that.
    """

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts = np.zeros((2, DEPTHS, BINS)) if counts is None else counts
        self._base = self.counts * (MOST / np.maximum(self.counts[1], MOST))
        self._recent, self._seen = np.zeros_like(self.counts), np.zeros_like(self.counts)

    def trust(self, depth: int, probability: float) -> float:
        """The chance that a token is right which the draft gives this probability."""
        right, tried = self._cell(depth, probability)
        return float((right + PRIOR * probability) / (tried + PRIOR))

    def rate(self, depth: int) -> float:
        """The chance that the token at `depth` will be right, before the draft was asked."""
        at = min(depth, DEPTHS - 1)
        right, tried = (self._base[:, at] + self._recent[:, at]).sum(axis=-1)
        return float((right + PRIOR * EXPECTED) / (tried + PRIOR))

    def learn(self, depth: int, probability: float, right: bool) -> None:
        """Count a token behind a chain that was right."""
        cell = _place(depth, probability)
        hit = np.array([right, 1.0])
        self._recent[:, *cell] = FADE * self._recent[:, *cell] + hit
        self._seen[:, *cell] += hit

    def learned(self) -> Confidence:
        """One that takes all that was seen so far for counted on held-out answers."""
        return Confidence(self.counts + self._seen)

    def forget(self) -> None:
        """As it was built."""
        self._recent[:] = self._seen[:] = 0.0

    def to_json(self) -> dict[str, Any]:
        """What it was built of."""
        return {"edges": list(EDGES), "right": self.counts[0].tolist(),
                "tried": self.counts[1].tolist()}  # fmt: skip

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Confidence:
        """Read back.

        Raises:
            BundleError: these are no counts, or of other bins.
        """
        try:
            counts = np.array([content["right"], content["tried"]], np.float64)
            sound = (
                content["edges"] == list(EDGES)
                and counts.shape == (2, DEPTHS, BINS)
                and bool(np.isfinite(counts).all())
                and bool((counts[0] >= 0).all() and (counts[0] <= counts[1]).all())
            )
        except (KeyError, TypeError, ValueError):
            sound, counts = False, None
        if not sound:
            raise BundleError(
                "a neural draft's table of confidence is damaged or of another version",
                "Build the bundle again, then run `tascel distill`",
            )
        return Confidence(counts)

    def _cell(self, depth: int, probability: float) -> Counts:
        cell = _place(depth, probability)
        return self._base[:, *cell] + self._recent[:, *cell]


def _place(depth: int, probability: float) -> tuple[int, int]:
    known = 0.0 if math.isnan(probability) else probability
    return min(depth, DEPTHS - 1), int(np.searchsorted(EDGES, known, side="right"))
