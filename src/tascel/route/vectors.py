"""Sets of features as rows of a sparse matrix: what training sees of prompts and outputs."""

# pyright: basic

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.draft.features import Features

#: Features kept: the most frequent. More do not tell tasks apart any better.
_MOST = 32_768

Rarity = NDArray[np.float32]


def vocabulary(rows: Sequence[Features]) -> tuple[Features, Rarity]:
    """The features worth knowing, u32[V] sorted, and how much each weighs, f32[V + 1], the last
    for one that was never seen: the root of the logarithm of how rare it is. What all rows share
    weighs nothing."""
    known, count = np.unique(np.concatenate(rows), return_counts=True)
    least = max(2, int(np.sort(count)[-_MOST:][0])) if len(count) else 2
    known, count = known[count >= least], count[count >= least]
    rarity = np.sqrt(np.log(len(rows) / np.append(count, 1.0)))
    return known, rarity.astype(np.float32)


def positions(row: Features, known: Features) -> NDArray[np.intp]:
    """Where in `known` those of a row's features stand that are there."""
    at = np.searchsorted(known, row)
    at = at[at < len(known)]  # the row is sorted, so only its end can lie beyond
    return at[known[at] == row[: len(at)]]


def matrix(rows: Sequence[Features], known: Features, rarity: Rarity) -> Any:
    """The rows as a sparse matrix of unit rows: f32[n, V] in SciPy's CSR format."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    found = [positions(row, known) for row in rows]
    ends = np.cumsum([0, *map(len, found)])
    columns = np.concatenate(found) if found else np.zeros(0, np.intp)
    full = csr_matrix((rarity[columns], columns, ends), shape=(len(rows), len(known)))
    return normalize(full, copy=False)
