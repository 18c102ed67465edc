"""What so many new tokens would save, told on outputs that they were not mined from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tascel.adapt.tokens.spans import Longs
from tascel.new_tokens import NewTokens
from tascel.types import Ids

Runs = Sequence[tuple[int, ...]]
#: Sizes at which the curve is measured, besides 0 and the last.
_SIZES = (10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 600, 750, 1000, 1500, 2000, 3000)


@dataclass(frozen=True, slots=True)
class Point:
    """The first `rows` of the mined tokens.

    Attributes:
        tokens: of the held-out outputs in their shortest segmentation, closing ids included.
        longest: the same by longest match.
        time: an answer's decoding beside the base vocabulary's: tokens times what a step costs.
        renyi2: Rényi entropy of order 2 of the tokens of the outputs mined, in bits. The paper's
            predictor of the gain (TASC, section 5): it rises with the rows while it pays.
        rare: rows with too few uses in the outputs mined.
    """

    rows: int
    tokens: int
    longest: int
    time: float
    renyi2: float
    rare: int


def curve(
    runs: Runs, mined: Ids, held_out: Ids, vocab_size: int, row_cost: float, least_uses: int
) -> Iterator[Point]:
    """Points of the curve, by rows.

    Args:
        mined: the outputs that `runs` were mined from, one behind the other: base ids i32[n].
        held_out: others, i32[m].
        row_cost: what a row adds to a step, as a share of it.
        least_uses: a row with fewer is rare.
    """
    for rows in [0, *(size for size in _SIZES if size < len(runs)), *([len(runs)] if runs else [])]:
        new = numbered(runs[:rows], vocab_size)
        shortest = new.shorten(mined)
        tokens = len(new.shorten(held_out))
        yield Point(
            rows,
            tokens,
            len(new.longest(held_out)),
            tokens / max(1, len(held_out)) * (1 + rows * row_cost),
            renyi2(shortest),
            int((uses(rows, shortest, vocab_size) < least_uses).sum()),
        )


def numbered(runs: Runs, vocab_size: int) -> NewTokens:
    """New tokens for `runs`, their ids in order behind the vocabulary's."""
    return NewTokens({vocab_size + at: run for at, run in enumerate(runs)})


def uses(rows: int, ids: Ids, vocab_size: int) -> Longs:
    """How often each of so many new tokens stands in `ids`: i64[rows]."""
    return np.bincount(ids, minlength=vocab_size + rows)[vocab_size:]


def renyi2(ids: Ids) -> float:
    """Rényi entropy of order 2 of a text's tokens, −log₂ Σ p², in bits; 0 of no text."""
    share = np.bincount(ids) / max(1, len(ids))
    return float(-np.log2(share @ share)) if len(ids) else 0.0


def without_rare(runs: Runs, text: Ids, vocab_size: int, least_uses: int) -> list[tuple[int, ...]]:
    """Those of `runs` that still have so many uses in the shortest segmentation of `text` when the
    others are gone. The rarer half of the rare ones goes first: others take up what they wrote."""
    kept = np.arange(len(runs))
    while True:
        new = numbered([runs[at] for at in kept.tolist()], vocab_size)
        often = uses(len(kept), new.shorten(text), vocab_size)
        rare = int((often < least_uses).sum())
        if not rare:
            return [runs[at] for at in kept.tolist()]
        kept = np.sort(kept[np.argsort(often, kind="stable")[-(-rare // 2) :]])
