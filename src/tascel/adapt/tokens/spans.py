"""A corpus whose tokens become fewer: runs of them merge into one, in place.

Knows positions and ids. A merged run lives on where it began; what lies inside it is dead, and
links lead past it. So a place that was once a run either still is, or will never be again.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import kernel, part
from tascel.types import Ids

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
#: Stands between outputs, and where an id may be part of no run.
GAP = -1
#: Inside a merged run.
DEAD = -2


class Spans(NamedTuple):
    """N places, the first and the last of them gaps. i32[N] each: the token that begins at a place,
    and where the next and the last living one begin."""

    token: Ints
    after: Ints
    before: Ints


def spans(outputs: Sequence[Ids], never: Collection[int]) -> Spans:
    """Outputs with a gap before each and after the last; `never` ids are gaps, too."""
    gap = np.array([GAP], np.int32)
    token = np.concatenate([part for output in outputs for part in (gap, output)] + [gap])
    token = np.where(np.isin(token, [*never]), GAP, token).astype(np.int32)
    at = np.arange(len(token), dtype=np.int32)
    return Spans(token, at + np.int32(1), at - np.int32(1))


def rows(corpus: Spans, starts: Ints, n: int) -> Ints:
    """The `n` tokens from each start on: i32[len(starts), n]."""
    return _rows(corpus, starts, n)


def starts_around(corpus: Spans, places: Ints, n: int) -> Ints:
    """Where runs of `n` tokens begin that hold one of `places`, which ascend; so do they."""
    return _starts_around(corpus, places, n)


def followers(corpus: Spans, places: Ints, run: Ints) -> Ints:
    """What comes after `run` wherever it still begins at one of `places`: ids, or GAP."""
    return _followers(corpus, places, run)


def uses(corpus: Spans, places: Ints, run: Ints) -> int:
    """How often `run` still begins at `places`, which ascend, without overlap, from the left."""
    return _uses(corpus, places, run)


def merge(corpus: Spans, places: Ints, run: Ints, token: int) -> Ints:
    """Put `token` for `run` wherever `uses` counts it; returns where."""
    return _merge(corpus, places, run, token)


def uses_of_groups(corpus: Spans, places: Ints, begin: Longs, end: Longs, n: int) -> Longs:
    """How often each of G runs of `n` tokens stands without overlap, from the left: i64[G]. Run g
    begins at `places[begin[g]:end[g]]`, which ascend."""
    return _uses_of_groups(corpus, places, begin, end, n)


@part
def _end(corpus: Spans, place: Any, n: Any) -> Any:
    """Where the run of `n` tokens from `place` ends, -1 if a gap comes before."""
    for _ in range(n):
        if corpus.token[place] < 0:
            return -1
        place = corpus.after[place]
    return place


@part
def _end_of(corpus: Spans, place: Any, run: Any) -> Any:
    """Where `run` ends if it begins at `place`, else -1."""
    for token in run:
        if corpus.token[place] != token:
            return -1
        place = corpus.after[place]
    return place


@kernel
def _rows(corpus: Spans, starts: Any, n: Any) -> Any:
    out = np.empty((len(starts), n), np.int32)
    for i in range(len(starts)):
        place = starts[i]
        for j in range(n):
            out[i, j] = corpus.token[place]
            place = corpus.after[place]
    return out


@kernel
def _starts_around(corpus: Spans, places: Any, n: Any) -> Any:
    out = np.empty(len(places) * n, np.int32)
    found = 0
    last = -1
    for place in places:
        start = place
        for _ in range(n - 1):
            before = corpus.before[start]
            if before <= last or corpus.token[before] < 0:
                break
            start = before
        while start <= place:
            if _end(corpus, start, n) >= 0:
                out[found] = start
                found += 1
            start = corpus.after[start]
        last = place
    return out[:found].copy()


@kernel
def _followers(corpus: Spans, places: Any, run: Any) -> Any:
    out = np.empty(len(places), np.int32)
    found = 0
    for place in places:
        end = _end_of(corpus, place, run)
        if end >= 0:
            out[found] = corpus.token[end]
            found += 1
    return out[:found].copy()


@kernel
def _uses(corpus: Spans, places: Any, run: Any) -> Any:
    count = 0
    taken = 0
    for place in places:
        if place >= taken:
            end = _end_of(corpus, place, run)
            if end >= 0:
                count += 1
                taken = end
    return count


@kernel
def _merge(corpus: Spans, places: Any, run: Any, token: Any) -> Any:
    out = np.empty(len(places), np.int32)
    found = 0
    for place in places:
        end = _end_of(corpus, place, run)
        if end < 0:
            continue
        inside = corpus.after[place]
        while inside != end:
            corpus.token[inside] = DEAD
            inside = corpus.after[inside]
        corpus.token[place] = token
        corpus.after[place] = end
        corpus.before[end] = place
        out[found] = place
        found += 1
    return out[:found].copy()


@kernel
def _uses_of_groups(corpus: Spans, places: Any, begin: Any, end: Any, n: Any) -> Any:
    out = np.zeros(len(begin), np.int64)
    for group in range(len(out)):
        taken = 0
        for at in range(begin[group], end[group]):
            if places[at] >= taken:
                out[group] += 1
                taken = _end(corpus, places[at], n)
    return out
