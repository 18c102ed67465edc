"""What a verify pass costs by its rows and tokens. Measured once and kept in a file, never a clock
at run time: so decisions are deterministic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Milliseconds by rows of the pass, then by its tokens, those of all rows together.
Points = Mapping[int, Mapping[int, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """`ms` f64[R, W]: milliseconds of one pass of `rows[r]` rows with w + 1 tokens in all.

    Between counts of rows it is interpolated; beyond the table the last slope goes on.
    """

    rows: Sequence[int]
    ms: NDArray[np.float64]

    @staticmethod
    def from_points(points: Mapping[int, float], widest: int = 64) -> Price:
        """Interpolate a single row's measured `{width: ms}`; noise never makes wider cheaper."""
        return Price([1], _table(points, widest)[None])

    @staticmethod
    def from_rows(points: Points) -> Price:
        """Interpolate what was measured for several numbers of rows."""
        widest = max(64, *(max(by_width) for by_width in points.values()))
        counts = sorted(points)
        return Price(counts, np.stack([_table(points[rows], widest) for rows in counts]))

    @staticmethod
    def free(widest: int = 64) -> Price:
        """Width costs nothing: every node with any chance pays. For replay and tests."""
        return Price([1], np.ones((1, widest)))

    def curve(self, pending: int, extra: int, rows: int = 1) -> NDArray[np.float64]:
        """Milliseconds of a pass of `rows` rows with `pending` + 0…`extra` tokens in all:
        f64[extra + 1]."""
        table = self._of(rows)
        middle = len(table) // 2
        slope = max(0.0, (table[-1] - table[middle]) / max(1, len(table) - 1 - middle))
        width = np.arange(pending, pending + extra + 1)
        inside = table[np.minimum(width, len(table)) - 1]
        return inside + slope * np.maximum(0, width - len(table))

    def plain(self, rows: int = 1) -> float:
        """Milliseconds of a pass that drafts nothing: one token for each row."""
        return float(self.curve(rows, 0, rows)[0])

    def _of(self, rows: int) -> NDArray[np.float64]:
        above = int(np.searchsorted(self.rows, rows))
        if above == len(self.rows):
            return self.ms[-1]
        if above == 0 or self.rows[above] == rows:
            return self.ms[above]
        low, high = self.rows[above - 1], self.rows[above]
        share = (rows - low) / (high - low)
        return (1 - share) * self.ms[above - 1] + share * self.ms[above]


def typical() -> Price:
    """Where nothing was measured: SmolLM2-135M in bfloat16 on 2 CPU cores."""
    relative = {1: 1.0, 4: 1.04, 8: 1.12, 12: 1.24, 16: 1.34, 24: 1.50, 32: 1.67}
    return Price.from_points({width: 40.0 * x for width, x in relative.items()}, widest=32)


def _table(points: Mapping[int, float], widest: int) -> NDArray[np.float64]:
    widths = sorted(points)
    measured = np.maximum.accumulate([points[w] for w in widths])
    width = np.arange(1, widest + 1)
    table = np.interp(width, widths, measured)
    if len(widths) > 1:  # beyond the widest measured one the last slope goes on
        slope = (measured[-1] - measured[-2]) / (widths[-1] - widths[-2])
        table += slope * np.maximum(0, width - widths[-1])
    return table


def flattest(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least average slope of `cost` f64[N] from each entry to any later one; 0 for the last."""
    ahead = np.arange(len(cost)) - np.arange(len(cost))[:, None]
    rise = cost - cost[:, None]
    slopes = np.where(ahead > 0, rise / np.maximum(ahead, 1), np.inf).min(axis=1)
    return np.where(np.isfinite(slopes), slopes, 0.0)
