"""What a verify pass costs by its width. Measured once and kept in a file, never a clock at run
time: so decisions are deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """`ms` f32[B, W]: milliseconds of one pass with b + 1 rows of w + 1 tokens each.

    Beyond the table the last slope goes on.
    """

    ms: NDArray[np.float32]

    @staticmethod
    def from_points(points: Mapping[int, float], widest: int = 64) -> Price:
        """Interpolate a single row's measured `{width: ms}`; noise never makes wider cheaper."""
        widths = sorted(points)
        measured = np.maximum.accumulate([points[w] for w in widths])
        width = np.arange(1, widest + 1)
        table = np.interp(width, widths, measured)
        if len(widths) > 1:  # beyond the widest measured one the last slope goes on
            slope = (measured[-1] - measured[-2]) / (widths[-1] - widths[-2])
            table += slope * np.maximum(0, width - widths[-1])
        return Price(table.astype(np.float32)[None, :])

    @staticmethod
    def free(widest: int = 64) -> Price:
        """Width costs nothing: every node with any chance pays. For replay and tests."""
        return Price(np.ones((1, widest), np.float32))

    def curve(self, pending: int, extra: int, batch: int = 1) -> NDArray[np.float64]:
        """Milliseconds of a pass with `pending` + 0…`extra` tokens: f64[extra + 1]."""
        row = self.ms[min(batch, len(self.ms)) - 1].astype(np.float64)
        slope = max(0.0, (row[-1] - row[len(row) // 2]) / max(1, len(row) - 1 - len(row) // 2))
        width = np.arange(pending, pending + extra + 1)
        inside = row[np.minimum(width, len(row)) - 1]
        return inside + slope * np.maximum(0, width - len(row))


def flattest(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least average slope of `cost` f64[N] from each entry to any later one; 0 for the last."""
    ahead = np.arange(len(cost)) - np.arange(len(cost))[:, None]
    rise = cost - cost[:, None]
    slopes = np.where(ahead > 0, rise / np.maximum(ahead, 1), np.inf).min(axis=1)
    return np.where(np.isfinite(slopes), slopes, 0.0)
