"""Tokens added to a vocabulary for one task: each stands for a run of base ids.

Knows ids only. No encoder writes a new token: text becomes base ids, and an answer's ids are then
shortened here. Which tokens a tokenizer has is its own affair, and what a model makes of them too.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import kernel, part
from tascel.errors import ModelError
from tascel.types import Ids

Ints = NDArray[np.int32]
#: Ids of tokenizers and of models are 32 bits wide.
_IDS = range(2**31 - 1)
_REMEDY = "Take the tokenizer from where it was made, or train again with --new-tokens"


@dataclass(frozen=True)
class NewTokens:
    """New ids and the base ids that each stands for.

    Without any it is false, and changes nothing.

    Attributes:
        runs: new id -> two or more base ids, none of them new; no two are the same.

    Raises:
        ModelError: the runs are not like that.
    """

    runs: Mapping[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])

    def __post_init__(self) -> None:
        named: dict[tuple[int, ...], int] = {}
        for id_, run in self.runs.items():
            if id_ not in _IDS or any(base not in _IDS for base in run):
                raise ModelError(f"new token {id_} has an id that is none", _REMEDY)
            if len(run) < 2:
                raise ModelError(f"new token {id_} stands for fewer than two ids", _REMEDY)
            if not self.runs.keys().isdisjoint(run):
                raise ModelError(f"new token {id_} stands for another new token", _REMEDY)
            if (other := named.setdefault(run, id_)) != id_:
                raise ModelError(f"new tokens {other} and {id_} stand for the same ids", _REMEDY)

    def __len__(self) -> int:
        return len(self.runs)

    def shorten(self, ids: Ids) -> Ids:
        """The fewest ids that say the same: i32[m] of base ids i32[n].

        Of several shortest ways, the one whose first token is longest, then its second, and so on.
        """
        return _shortest(self._trie, ids) if self.runs else ids

    def longest(self, ids: Ids) -> Ids:
        """As `shorten`, but always taking the longest token that fits: what an encoder that looks
        no further would write."""
        return _longest(self._trie, ids) if self.runs else ids

    def expand(self, ids: Ids) -> Ids:
        """Base ids i32[n] of ids that may be new: undoes `shorten`."""
        if not self.runs:
            return ids
        runs = (self.runs.get(id_, (id_,)) for id_ in ids.tolist())
        return np.fromiter(chain.from_iterable(runs), np.int32)

    def to_json(self) -> dict[str, list[int]]:
        """What `from_json` reads back, after JSON too."""
        return {str(id_): list(run) for id_, run in self.runs.items()}

    @staticmethod
    def from_json(content: Any) -> NewTokens:
        """The tokens of a file, which anybody may have written.

        Raises:
            ModelError: it holds something else.
        """
        try:
            runs = {int(id_): tuple(run) for id_, run in content.items()}
        except (AttributeError, TypeError, ValueError):
            raise ModelError("new tokens are no lists of ids by id", _REMEDY) from None
        if any(type(base) is not int for run in runs.values() for base in run):
            raise ModelError("new tokens stand for something that is no id", _REMEDY)
        return NewTokens(runs)

    @cached_property
    def _trie(self) -> _Trie:
        return _trie_of(self.runs)


class _Trie(NamedTuple):
    """Runs as paths from node 0. Its edges lie in a hash table with open addressing."""

    edges: NDArray[np.int64]  # i64[2^k]: node << 32 | base id, -1 where empty
    leads: Ints  # i32[2^k]: the node that the edge leads to
    token: Ints  # i32[nodes]: the new id whose run ends in the node, else -1


def _trie_of(runs: Mapping[int, tuple[int, ...]]) -> _Trie:
    leads: dict[tuple[int, int], int] = {}
    ends: dict[int, int] = {}
    for id_, run in runs.items():
        node = 0
        for base in run:
            node = leads.setdefault((node, base), 1 + len(leads))
        ends[node] = id_
    size = 1 << (2 * len(leads)).bit_length()
    trie = _Trie(
        np.full(size, -1, np.int64), np.zeros(size, np.int32), np.full(1 + len(leads), -1, np.int32)
    )
    for node, id_ in ends.items():
        trie.token[node] = id_
    from_, by = np.array([*leads], np.int64).T
    _enter(trie, from_ << 32 | by)
    return trie


@kernel
def _enter(trie: _Trie, edges: Any) -> None:
    """Enter the edges that lead to the nodes 1, 2, and so on."""
    for i in range(len(edges)):
        slot = _slot(trie.edges, edges[i])
        trie.edges[slot] = edges[i]
        trie.leads[slot] = i + 1


@part
def _slot(edges: Any, edge: Any) -> Any:
    """Where an edge lies, or an empty place for it."""
    mixed = np.uint64(edge) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(mixed >> np.uint64(33)) & (len(edges) - 1)
    while edges[slot] != edge and edges[slot] != -1:
        slot = (slot + 1) & (len(edges) - 1)
    return slot


@part
def _step(trie: Any, node: Any, base: Any) -> Any:
    """The node after `base`, -1 if there is none."""
    if base < 0:
        return -1
    edge = (np.int64(node) << 32) | np.int64(base)
    slot = _slot(trie.edges, edge)
    return trie.leads[slot] if trie.edges[slot] == edge else -1


@kernel
def _shortest(trie: _Trie, ids: Ids) -> Ids:
    """From the end: how few ids write the rest, and the longest first one that does."""
    n = len(ids)
    fewest = np.zeros(n + 1, np.int32)
    first = np.ones(n, np.int32)
    taken = np.empty(n, np.int32)
    for i in range(n - 1, -1, -1):
        fewest[i] = 1 + fewest[i + 1]
        taken[i] = ids[i]
        node, end = 0, i
        while end < n:
            node = _step(trie, node, ids[end])
            end += 1
            if node < 0:
                break
            if trie.token[node] >= 0 and 1 + fewest[end] <= fewest[i]:
                fewest[i] = 1 + fewest[end]
                first[i], taken[i] = end - i, trie.token[node]
    out = np.empty(fewest[0], np.int32)
    at = 0
    for i in range(len(out)):
        out[i] = taken[at]
        at += first[at]
    return out


@kernel
def _longest(trie: _Trie, ids: Ids) -> Ids:
    out = np.empty_like(ids)
    at = found = 0
    while at < len(ids):
        out[found], after = ids[at], at + 1
        node, end = 0, at
        while end < len(ids):
            node = _step(trie, node, ids[end])
            end += 1
            if node < 0:
                break
            if trie.token[node] >= 0:
                out[found], after = trie.token[node], end
        at = after
        found += 1
    return out[:found].copy()
