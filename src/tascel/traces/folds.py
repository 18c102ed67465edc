"""Which traces must be held out together: near-duplicates share a group, groups share a fold.

A draft judged on traces whose twins it was built from looks better than it is.
"""

from __future__ import annotations

import heapq
import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.types import Ids, Trace

#: Two prompts are similar when about half of their shingles agree. 16 bands of 4 hashes bring a
#: pair at that similarity together with probability 0.64, and a pair at 0.8 with 0.9998.
_SIMILAR = 0.5
_BANDS, _ROWS = 16, 4
_SHINGLE = 3  # words
#: Share of prompts above which a shingle belongs to the instruction and not to the request.
_COMMON = 0.2
#: With fewer prompts than this so small a share says nothing: what stands in most of them does.
_MANY, _MOST = 100, 0.8
#: Words looked at, from the end: enough to tell requests apart, and a bound on memory.
_LONGEST = 512
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")

_U64 = NDArray[np.uint64]
_NONE = np.zeros(0, np.uint64)


def groups(traces: Iterable[Trace]) -> Ids:
    """The groups of traces: `groups_of` their prompts and own groups."""
    return groups_of((trace.prompt_text, trace.group) for trace in traces)


def groups_of(prompts: Iterable[tuple[str, str | None]]) -> Ids:
    """Number the groups of similar traces: i32[n], from 0 in order of appearance.

    Each is given as its prompt's text and its own group or None. Its own group decides where it has
    one. The others are joined when their prompts are near-duplicates, transitively: MinHash over
    word shingles with digits masked (Broder, "On the resemblance and containment of documents",
    1997), candidates from locality-sensitive hashing.
    """
    names: dict[str, int] = {}
    named: list[int] = []
    unnamed: list[list[int]] = []
    for prompt, group in prompts:
        named.append(-1 if group is None else names.setdefault(group, len(names)))
        if group is None:
            text = _DIGITS.sub("0", prompt.casefold())
            unnamed.append([zlib.crc32(word.encode()) for word in _WORD.findall(text)[-_LONGEST:]])
    label = np.asarray(named, np.int64)
    free = label < 0
    label[free] = len(names) + _clusters(_signatures(unnamed))
    _, first, dense = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[dense].astype(np.int32)


def held_out_ways(traces: Sequence[Trace]) -> list[Ids]:
    """The ways to hold traces out that differ: by the groups that they name, and by near-duplicates
    alone. Which of them new traffic is like, nobody knows: i32[n] group numbers each."""
    return ways_of([(trace.prompt_text, trace.group) for trace in traces])


def ways_of(prompts: Sequence[tuple[str, str | None]]) -> list[Ids]:
    """`held_out_ways` of traces given as `groups_of` takes them."""
    alike = groups_of((prompt, None) for prompt, _ in prompts)
    ungrouped = all(group is None for _, group in prompts)
    return [alike] if ungrouped else [groups_of(prompts), alike]


def folds(groups: Ids, k: int, seed: int = 0) -> Ids:
    """Deal whole groups into `k` folds of about equal size: i32[n] fold numbers.

    The largest group goes first and always into the smallest fold; `seed` breaks ties. A group of
    more than half of all traces is dealt one by one: held out whole it would leave nothing to
    judge by.
    """
    huge = np.bincount(groups)[groups] > len(groups) / 2
    alone = len(groups) + np.arange(len(groups))
    groups = np.unique(np.where(huge, alone, groups), return_inverse=True)[1].astype(np.int32)
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of_group = np.zeros(len(sizes), np.int32)
    load = [(0, fold) for fold in range(k)]
    for group in order:
        size, fold = load[0]
        fold_of_group[group] = fold
        heapq.heapreplace(load, (size + int(sizes[group]), fold))
    return fold_of_group[groups]


def _signatures(prompts: list[list[int]]) -> _U64:
    """MinHash signatures of prompts given as word hashes: u64[n, bands * rows].

    Shingles that stand in many prompts are no likeness: a shared instruction joins nothing.
    """
    shingles = [_shingles(words) for words in prompts]
    ids, counts = np.unique(np.concatenate([_NONE, *shingles]), return_counts=True)
    share = _COMMON if len(prompts) >= _MANY else _MOST
    common = ids[counts > share * len(prompts)]
    signatures = np.empty((len(prompts), _BANDS * _ROWS), np.uint64)
    salts = _mix(np.arange(1, _BANDS * _ROWS + 1, dtype=np.uint64))[:, None]
    for row, all_of_them in enumerate(shingles):
        telling = np.setdiff1d(all_of_them, common, assume_unique=True)
        if not len(telling):  # nothing but common phrases: like only to its equals
            telling = _mix(all_of_them.sum(keepdims=True))
        signatures[row] = _mix(telling ^ salts).min(axis=1)
    return signatures


def _shingles(words: list[int]) -> _U64:
    """The distinct runs of `_SHINGLE` words, as hashes; padding gives any prompt at least one."""
    word = np.array([1, *words, *[2] * (_SHINGLE - 1)], np.uint64)
    shingle = np.zeros(len(word) - _SHINGLE + 1, np.uint64)
    for i in range(_SHINGLE):
        shingle = _mix(shingle + word[i : i + len(shingle)])
    return np.unique(shingle)


def _clusters(signatures: _U64) -> NDArray[np.int64]:
    """Join rows that share a band with a row they resemble: the first row's number, i64[n]."""
    label = np.arange(len(signatures))
    edges: list[NDArray[np.int64]] = []
    for band in np.split(signatures, _BANDS, axis=1):
        key = np.zeros(len(band), np.uint64)
        for column in band.T:
            key = _mix(key + column)
        _, first, bucket = np.unique(key, return_index=True, return_inverse=True)
        other = first[bucket]
        near = (signatures == signatures[other]).mean(axis=1) >= _SIMILAR
        edges.append(np.stack([label, other])[:, near & (label != other)])
    a, b = np.concatenate(edges, axis=1)
    while True:
        low = np.minimum(label[a], label[b])
        joined = label.copy()
        np.minimum.at(joined, label[a], low)
        np.minimum.at(joined, label[b], low)
        joined = joined[joined]
        if np.array_equal(joined, label):
            return label
        label = joined


def _mix(x: _U64) -> _U64:
    """Scramble 64-bit words (the finaliser of splitmix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
