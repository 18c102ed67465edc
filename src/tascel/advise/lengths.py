"""How long answers are, and how much of them was answered before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.types import Ids

#: Shares of the answers that are no longer than a quantile.
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
#: Runs of so many tokens are looked for in other answers.
_RUNS = (4, 8, 16)
#: Bars of the histogram at most.
_BARS = 20
#: What a run's ids are mixed with: an odd 64-bit constant (Knuth's, from the golden ratio).
_MIX = np.uint64(0x9E3779B97F4A7C15)


def lengths(outputs: Sequence[Ids]) -> dict[str, Any]:
    """Tokens of answers, their closing ids included: `mean`, `quantiles` by share, a `histogram` of
    equally wide bars (`edges`, one more than `counts`); `empty` and `one_token` are the shares of
    answers that are nothing, or a single token, before the closing id."""
    long = np.array([len(output) for output in outputs])
    width = -(-int(long.max()) // _BARS)
    edges = np.arange(0, int(long.max()) + width + 1, width)
    counts, _ = np.histogram(long, edges)
    return {
        "answers": len(long),
        "mean": float(long.mean()),
        "longest": int(long.max()),
        "quantiles": {str(q): float(np.quantile(long, q)) for q in _QUANTILES},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "empty": float((long <= 1).mean()),
        "one_token": float((long == 2).mean()),
    }


def repeated(outputs: Sequence[Ids], held: Sequence[Ids]) -> dict[str, Any]:
    """What answers say again: `verbatim` is the share of them that another one equals, `known` the
    share of the `held` that one of `outputs` equals, `runs` by length the share of all runs of so
    many tokens that stand in another answer, too; None where no answer is so long."""
    said = Counter(output.tobytes() for output in outputs)
    again = sum(count for count in said.values() if count > 1)
    return {
        "verbatim": again / len(outputs),
        "known": sum(output.tobytes() in said for output in held) / len(held),
        "distinct": len(said),
        "runs": {str(n): _shared(outputs, n) for n in _RUNS},
    }


def _shared(outputs: Sequence[Ids], n: int) -> float | None:
    """The share of runs of `n` tokens that stand in more than one answer."""
    long = [output for output in outputs if len(output) >= n]
    if not long:
        return None
    runs = [_hashes(output, n) for output in long]
    answer = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    _, kind = np.unique(np.concatenate(runs), return_inverse=True)
    pairs = np.unique(np.stack([kind, answer], axis=1), axis=0)  # each answer's once
    answers = np.bincount(pairs[:, 0])
    return float((answers[kind] > 1).mean())


def _hashes(output: Ids, n: int) -> NDArray[np.uint64]:
    """Every run of `n` ids as a number: u64[len(output) - n + 1]."""
    ids = output.astype(np.uint64)
    hashed = np.zeros(len(ids) - n + 1, np.uint64)
    for at in range(n):
        hashed = (hashed ^ ids[at : at + len(hashed)]) * _MIX
        hashed ^= hashed >> np.uint64(29)
    return hashed
