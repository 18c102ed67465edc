"""The plan of a packed pass: which tokens are read in which order, where their keys go, and which rows
are attended together. Host side, numpy; one copy to the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tascel.draft.base import Proposal
from tascel.engines.hf.slab import Block

#: Cells (queries times keys) that may be computed in vain to save a call: what a call costs on two
#: CPU cores (30 µs), and a guess for GPUs, where a launch costs a row's work and more.
SPARE = {"cpu": 1024}
_SPARE_ELSEWHERE = 1 << 18


@dataclass(frozen=True, slots=True)
class Feed:
    """What one row is fed: `lead` and, below the last of it, `proposal`, behind `past` tokens."""

    block: Block
    past: int
    lead: Sequence[int]
    proposal: Proposal

    @property
    def queries(self) -> int:
        """Tokens fed."""
        return len(self.lead) + len(self.proposal)

    @property
    def keys(self) -> int:
        """Tokens in the cache when they are."""
        return self.past + self.queries

    @property
    def causal(self) -> bool:
        """Whether it is a plain text from its start."""
        return self.past == 0 and self.queries > 1 and self.proposal.is_chain

    def visible(self) -> NDArray[np.bool_]:
        """What each token sees: bool[queries, keys]."""
        if self.proposal.is_chain:
            return np.tri(self.queries, self.keys, self.past, dtype=np.bool_)
        return tree_view(self.past, len(self.lead), self.proposal.parents)

    def positions(self) -> NDArray[np.int64]:
        """Where each token stands in its text: i64[queries]."""
        if self.proposal.is_chain:
            return np.arange(self.past, self.keys)
        return tree_places(self.past, len(self.lead), self.proposal.parents)


@dataclass(slots=True, eq=False)
class Part:
    """Rows attended in one call: evenly spaced blocks, padded to the longest, with holes.

    `first` to `last` are their tokens in the pass; `pad` i64[B x Q] says which of those a padded query
    is, `unpad` i64[n] where each of those is among the padded; None if nothing is padded.
    """

    feeds: list[Feed]
    first: int = 0
    last: int = 0
    pad: torch.Tensor | None = None
    unpad: torch.Tensor | None = None

    @property
    def start(self) -> int:
        """Where the first block begins."""
        return self.feeds[0].block.start

    @property
    def stride(self) -> int:
        """How far apart blocks begin."""
        return self.feeds[0].block.length

    @property
    def rows(self) -> int:
        """Rows in the view, holes included."""
        return 1 + (self.feeds[-1].block.start - self.start) // self.stride

    @property
    def queries(self) -> int:
        """Queries of every row, padded."""
        return max(feed.queries for feed in self.feeds)

    @property
    def keys(self) -> int:
        """Keys of every row, padded."""
        return max(feed.keys for feed in self.feeds)

    @property
    def cells(self) -> int:
        """What the call computes."""
        return self.rows * self.queries * self.keys

    @property
    def causal(self) -> bool:
        """Whether it is one plain text from its start."""
        return len(self.feeds) == 1 and self.feeds[0].causal

    @property
    def slots(self) -> list[int]:
        """Which of the view's rows the feeds are."""
        return [(feed.block.start - self.start) // self.stride for feed in self.feeds]

    def visible(self) -> NDArray[np.bool_]:
        """What each query may see by the tree it hangs in: bool[B, Q, S]."""
        seen = np.zeros((self.rows, self.queries, self.keys), np.bool_)
        seen[:, :, 0] = True  # padding sees something, or its softmax is nan
        for slot, feed in zip(self.slots, self.feeds, strict=True):
            seen[slot, : feed.queries, : feed.keys] = feed.visible()
        return seen

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The positions of queries i64[B, Q] and of keys i64[B, S] in their texts."""
        queries = np.zeros((self.rows, self.queries), np.int64)
        keys = np.tile(np.arange(self.keys), (self.rows, 1))
        for slot, feed in zip(self.slots, self.feeds, strict=True):
            queries[slot, : feed.queries] = feed.positions()
            keys[slot, feed.past : feed.keys] = queries[slot, : feed.queries]
        return queries, keys


@dataclass(slots=True, eq=False)
class Plan:
    """A pass over packed rows: i64[N] each, on the device.

    `wanted` are the tokens whose logits are asked for: of each feed the last of its lead and its
    proposal, in the order of `parts`; `roots` says where among them a feed's begin, by its place in
    the batch.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    where: torch.Tensor
    wanted: torch.Tensor
    parts: list[Part]
    roots: list[int] = field(default_factory=list[int])


def make_plan(feeds: Sequence[Feed], device: torch.device) -> Plan:
    """Order the rows by the calls they are attended in, and lay out their tokens."""
    parts = group(feeds, SPARE.get(device.type, _SPARE_ELSEWHERE))
    ids: list[int] = []
    positions: list[NDArray[np.int64]] = []
    where: list[NDArray[np.int64]] = []
    wanted: list[NDArray[np.int64]] = []
    padding: list[NDArray[np.int64]] = []
    roots: dict[int, int] = {}
    asked = 0
    for part in parts:
        part.first = len(ids)
        for feed in part.feeds:
            at = len(ids) + len(feed.lead) - 1
            wanted.append(np.arange(at, at + 1 + len(feed.proposal)))
            roots[id(feed)] = asked
            asked += 1 + len(feed.proposal)
            ids += feed.lead
            ids += feed.proposal.tokens.tolist()
            positions.append(feed.positions())
            where.append(np.arange(feed.block.start + feed.past, feed.block.start + feed.keys))
        part.last = len(ids)
        padding += _padding(part)
    pieces = [np.array(ids), *positions, *where, *wanted, *padding]
    flat = torch.from_numpy(np.concatenate(pieces)).to(device)
    size = len(ids)
    rest = flat[3 * size + asked :]
    for part in parts:
        if part.rows * part.queries > part.last - part.first:
            count = part.rows * part.queries
            part.pad, rest = rest[:count], rest[count:]
            part.unpad, rest = rest[: part.last - part.first], rest[part.last - part.first :]
    return Plan(
        ids=flat[:size],
        positions=flat[size : 2 * size],
        where=flat[2 * size : 3 * size],
        wanted=flat[3 * size : 3 * size + asked],
        parts=parts,
        roots=[roots[id(feed)] for feed in feeds],
    )


def group(feeds: Sequence[Feed], spare: int) -> list[Part]:
    """Rows to be attended together: where padding them costs less than a call of their own."""
    parts: list[Part] = []
    for feed in sorted(feeds, key=lambda feed: (feed.block.length, feed.block.start)):
        own = Part([feed])
        best, least = None, spare
        for part in parts:
            if part.stride != own.stride or part.causal or own.causal:
                continue
            waste = Part([*part.feeds, feed]).cells - part.cells - own.cells
            if waste <= least:
                best, least = part, waste
        if best is None:
            parts.append(own)
        else:
            best.feeds.append(feed)
    return parts


def _padding(part: Part) -> list[NDArray[np.int64]]:
    """`pad` and `unpad` of a part; nothing if its queries are in place as they are."""
    if part.rows * part.queries == part.last - part.first:
        return []
    pad = np.zeros((part.rows, part.queries), np.int64)
    unpad: list[NDArray[np.int64]] = []
    at = 0
    for slot, feed in zip(part.slots, part.feeds, strict=True):
        pad[slot, : feed.queries] = np.arange(at, at + feed.queries)
        unpad.append(np.arange(feed.queries) + slot * part.queries)
        at += feed.queries
    return [pad.ravel(), *unpad]


def tree_view(past: int, lead: int, parents: NDArray[np.int16]) -> NDArray[np.bool_]:
    """What a pass of `lead` tokens and a tree below the last of them may see: bool[Q, past + Q].

    A node sees all that is before the tree, its ancestors and itself.
    """
    size = lead + len(parents)
    visible = np.zeros((size, past + size), np.bool_)
    visible[:, :past] = True
    visible[:lead, past : past + lead] = np.tri(lead, dtype=np.bool_)
    for at, parent in enumerate(parents.tolist(), start=lead):
        visible[at] = visible[lead + parent]  # the root is the last of `lead`
        visible[at, past + at] = True
    return visible


def tree_places(past: int, lead: int, parents: NDArray[np.int16]) -> NDArray[np.int64]:
    """Where the tokens of such a pass stand in their text: i64[Q]; a node one behind its parent."""
    places = np.arange(past, past + lead + len(parents))
    for at, parent in enumerate(parents.tolist(), start=lead):
        places[at] = places[lead + parent] + 1
    return places
