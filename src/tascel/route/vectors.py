"""Sets of features as rows of a sparse matrix, and what separates rows of different tasks."""

# pyright: basic

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.draft.features import Features
from tascel.types import Ids

#: Features kept: the most frequent. More do not tell tasks apart any better.
_MOST = 32_768

Floats = NDArray[np.float32]


def vocabulary(rows: Sequence[Features]) -> tuple[Features, Floats]:
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


def matrix(rows: Sequence[Features], known: Features, rarity: Floats) -> Any:
    """The rows as a sparse matrix of unit rows: f32[n, V] in SciPy's CSR format."""
    from scipy.sparse import csr_matrix

    found = [positions(row, known) for row in rows]
    ends = np.cumsum([0, *map(len, found)])
    weights = [rarity[at] / max(float(np.linalg.norm(rarity[at])), 1e-9) for at in found]
    data = np.concatenate(weights), np.concatenate(found), ends
    return csr_matrix(data, shape=(len(rows), len(known)))


def separated(sparse: Any, label: Ids, dense: Floats) -> tuple[Ids, Floats, Floats]:
    """Each task there is against the rest, by a linear support vector machine: the k tasks, weights
    f32[V + E, k] and bias f32[k]."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.svm import LinearSVC

    seen = np.unique(label)
    size = sparse.shape[1] + dense.shape[1]
    if len(seen) == 1 or not size:
        return seen, np.zeros((size, len(seen)), np.float32), np.ones(len(seen), np.float32)
    svc: Any = LinearSVC(class_weight="balanced", tol=1e-3, random_state=0)
    svc.fit(hstack([sparse, csr_matrix(dense)], format="csr"), label)
    weights, bias = svc.coef_.T, svc.intercept_
    if len(seen) == 2:  # it trains one for both
        weights, bias = np.hstack([-weights, weights]), np.append(-bias, bias)
    return seen, weights.astype(np.float32), bias.astype(np.float32)
