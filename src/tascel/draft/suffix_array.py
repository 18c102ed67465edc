"""Suffix arrays over token ids by induced sorting (Nong, Zhang, Chan: SA-IS, DCC 2009).

Linear time over any integer alphabet; the full order, since a match may be of any length. A suffix
that ends sorts before every suffix that goes on.
"""

# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tascel.compiled import kernel
from tascel.types import Ids

Ints = NDArray[np.int32]


def suffix_array(text: Ids) -> Ints:
    """Start positions of all suffixes of `text` in sorted order: i32[n].

    Ids may be negative (separators). Takes about 20 bytes a token besides the text.
    """
    if len(text) < 2:
        return np.arange(len(text), dtype=np.int32)
    dense = (text - text.min()).astype(np.int32)
    return _sort(dense, int(dense.max()) + 1)


def _sort(text: Ints, letters: int) -> Ints:
    """One level: sort the leftmost-S suffixes by their names, then induce all others from them."""
    lms, marks = _leftmost(text)
    order = _induce(text, letters, lms)
    if len(lms) < 2:
        return order
    names, distinct = _names(text, marks, order, len(lms))
    del order, marks  # as much memory again is needed below
    if distinct == len(lms):
        ranked = np.empty_like(lms)
        ranked[names] = lms
    else:
        ranked = lms[_sort(names, distinct)]
    return _induce(text, letters, ranked)


@kernel
def _leftmost(text: Ints) -> tuple[Ints, NDArray[np.uint8]]:
    """Where an S-type suffix, one smaller than the next, follows an L-type one: their positions,
    and one bit for each of all positions."""
    n = len(text)
    found = np.empty(n // 2 + 1, np.int32)
    marks = np.zeros(n // 8 + 1, np.uint8)
    count = 0
    small = False
    for i in range(n - 2, -1, -1):
        before = small
        small = text[i] < text[i + 1] or (text[i] == text[i + 1] and small)
        if before and not small:
            found[count] = i + 1
            marks[(i + 1) >> 3] |= np.uint8(1 << ((i + 1) & 7))
            count += 1
    return found[:count][::-1].copy(), marks


@njit(inline="always")
def _marked(marks, i):
    return (marks[i >> 3] >> (i & 7)) & 1


@kernel
def _induce(text: Ints, letters: int, seeds: Ints) -> Ints:
    """Sort all suffixes, given the order of the leftmost-S ones (or any order: then only their
    substrings get sorted)."""
    n = len(text)
    start = np.zeros(letters + 1, np.int32)
    large = np.zeros(letters, np.int32)
    small = False
    for i in range(n - 1, -1, -1):
        small = i + 1 < n and (text[i] < text[i + 1] or (text[i] == text[i + 1] and small))
        start[text[i] + 1] += 1
        if not small:
            large[text[i]] += 1
    for c in range(letters):
        start[c + 1] += start[c]
    order = np.full(n, -1, np.int32)
    slot = start[:letters] + large
    for p in seeds:
        order[slot[text[p]]] = p
        slot[text[p]] += 1
    # A suffix is L-type exactly if its first letter is larger than the next one, or as large and
    # the next suffix L-type: the neighbour's letter is at hand, its type would be a cache miss.
    slot = start[:letters].copy()
    last = text[n - 1]
    order[slot[last]] = n - 1
    slot[last] += 1
    for i in range(n):
        p = order[i] - 1
        if p >= 0 and text[p] >= text[p + 1]:  # a seed's neighbour is larger, never as large
            order[slot[text[p]]] = p
            slot[text[p]] += 1
    slot = start[1:].copy()
    for i in range(n - 1, -1, -1):
        p = order[i] - 1
        if p >= 0:
            here, after = text[p], text[p + 1]
            if here < after or (here == after and i >= slot[here]):  # among those put here as S
                slot[here] -= 1
                order[slot[here]] = p
    return order


@kernel
def _names(text: Ints, marks: NDArray[np.uint8], order: Ints, count: int) -> tuple[Ints, int]:
    """Number the `count` leftmost-S substrings by rank, equal ones alike: names in text order."""
    n = len(text)
    name_at = np.full(n // 2 + 1, -1, np.int32)  # no two of them are neighbours
    name = -1
    before = -1
    for here in order:
        if not _marked(marks, here):
            continue
        if before < 0 or not _same_substring(text, marks, before, here):
            name += 1
        name_at[here >> 1] = name
        before = here
    names = np.empty(count, np.int32)
    found = 0
    for given in name_at:
        if given >= 0:
            names[found] = given
            found += 1
    return names, name + 1


@kernel
def _same_substring(text: Ints, marks: NDArray[np.uint8], a: int, b: int) -> bool:
    """Whether the leftmost-S substrings at a and b are equal, up to and with their next such."""
    n = len(text)
    length = 0
    while True:
        i, j = a + length, b + length
        if i >= n or j >= n or text[i] != text[j]:
            return False
        if length > 0 and (_marked(marks, i) or _marked(marks, j)):
            return _marked(marks, i) == _marked(marks, j)
        length += 1
