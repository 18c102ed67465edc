"""Suffix arrays over token ids by induced sorting (Nong, Zhang, Chan: SA-IS, DCC 2009).

Linear time over any integer alphabet; the full order, since a match may be of any length. A suffix
that ends sorts before every suffix that goes on.
"""

# pyright: basic

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    small = _s_types(text)
    lms = _lms_positions(small)
    order = _induce(text, small, letters, lms)
    if len(lms) < 2:
        return order
    names, distinct = _names(text, small, order, lms)
    if distinct == len(lms):
        ranked = np.empty_like(lms)
        ranked[names] = lms
    else:
        ranked = lms[_sort(names, distinct)]
    return _induce(text, small, letters, ranked)


@njit(cache=True)
def _s_types(text: Ints) -> NDArray[np.bool_]:
    """Whether the suffix at i is smaller than the one at i + 1."""
    n = len(text)
    small = np.zeros(n, np.bool_)
    for i in range(n - 2, -1, -1):
        small[i] = text[i] < text[i + 1] or (text[i] == text[i + 1] and small[i + 1])
    return small


@njit(cache=True)
def _lms_positions(small: NDArray[np.bool_]) -> Ints:
    """Where an S-type suffix follows an L-type one."""
    found = np.empty(len(small) // 2 + 1, np.int32)
    count = 0
    for i in range(1, len(small)):
        if small[i] and not small[i - 1]:
            found[count] = i
            count += 1
    return found[:count].copy()


@njit(cache=True)
def _induce(text: Ints, small: NDArray[np.bool_], letters: int, seeds: Ints) -> Ints:
    """Sort all suffixes, given the order of the leftmost-S ones (or any order: then only their
    substrings get sorted)."""
    n = len(text)
    start = np.zeros(letters + 1, np.int32)
    large = np.zeros(letters, np.int32)
    for i in range(n):
        start[text[i] + 1] += 1
        if not small[i]:
            large[text[i]] += 1
    for c in range(letters):
        start[c + 1] += start[c]
    order = np.full(n, -1, np.int32)
    slot = start[:letters] + large
    for p in seeds:
        order[slot[text[p]]] = p
        slot[text[p]] += 1
    slot = start[:letters].copy()
    last = text[n - 1]
    order[slot[last]] = n - 1
    slot[last] += 1
    for i in range(n):
        p = order[i] - 1
        if p >= 0 and not small[p]:
            order[slot[text[p]]] = p
            slot[text[p]] += 1
    slot = start[1:].copy()
    for i in range(n - 1, -1, -1):
        p = order[i] - 1
        if p >= 0 and small[p]:
            slot[text[p]] -= 1
            order[slot[text[p]]] = p
    return order


@njit(cache=True)
def _names(text: Ints, small: NDArray[np.bool_], order: Ints, lms: Ints) -> tuple[Ints, int]:
    """Number the leftmost-S substrings by rank, equal ones alike: names in text order."""
    n = len(text)
    rank_of = np.full(n, -1, np.int32)
    for i in range(len(lms)):
        rank_of[lms[i]] = i
    names = np.empty(len(lms), np.int32)
    name = -1
    before = -1
    for i in range(n):
        here = order[i]
        if rank_of[here] < 0:
            continue
        if before < 0 or not _same_substring(text, small, before, here):
            name += 1
        names[rank_of[here]] = name
        before = here
    return names, name + 1


@njit(cache=True)
def _same_substring(text: Ints, small: NDArray[np.bool_], a: int, b: int) -> bool:
    """Whether the leftmost-S substrings at a and b are equal, up to and with their next such."""
    n = len(text)
    length = 0
    while True:
        i, j = a + length, b + length
        if i >= n or j >= n or text[i] != text[j] or small[i] != small[j]:
            return False
        if length > 0:
            ends_a = small[i] and not small[i - 1]
            ends_b = small[j] and not small[j - 1]
            if ends_a or ends_b:
                return ends_a and ends_b
        length += 1
