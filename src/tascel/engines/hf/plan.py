"""The plan of a packed pass: which tokens are read in which order, where their keys go, and which
rows are attended together. Host side, numpy; one copy to the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

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

    The call is over `rows` blocks from the slab's token `start` on, one every `stride`, with
    `queries` and `keys` for each. `first` to `last` are their tokens in the pass; `pad` i64[B x Q]
    says which of those a padded query is, `unpad` i64[n] where each of those is among the padded;
    None if nothing is padded. `causal` marks a single plain text read from its start.
    """

    feeds: list[Feed]
    first: int
    pad: torch.Tensor | None = None
    unpad: torch.Tensor | None = None
    last: int = field(init=False)
    start: int = field(init=False)
    stride: int = field(init=False)
    rows: int = field(init=False)
    queries: int = field(init=False)
    keys: int = field(init=False)
    causal: bool = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.first + sum(feed.queries for feed in self.feeds)
        self.start, self.stride = self.feeds[0].block.start, self.feeds[0].block.length
        self.rows, self.queries, self.keys = extent(self.feeds)
        self.causal = self.feeds[0].causal

    @property
    def padded(self) -> bool:
        """Whether the call computes more queries than were fed."""
        return self.rows * self.queries > self.last - self.first

    def visible(self) -> NDArray[np.bool_]:
        """What each query may see by the tree it hangs in: bool[B, Q, S]."""
        seen = np.zeros((self.rows, self.queries, self.keys), np.bool_)
        seen[:, :, 0] = True  # padding sees something, or its softmax is nan
        for slot, feed in self._slots():
            seen[slot, : feed.queries, : feed.keys] = feed.visible()
        return seen

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The positions of queries i64[B, Q] and of keys i64[B, S] in their texts."""
        queries = np.zeros((self.rows, self.queries), np.int64)
        keys = np.tile(np.arange(self.keys), (self.rows, 1))
        for slot, feed in self._slots():
            queries[slot, : feed.queries] = feed.positions()
            keys[slot, feed.past : feed.keys] = queries[slot, : feed.queries]
        return queries, keys

    def padding(self) -> list[NDArray[np.int64]]:
        """The content of `pad` and, in pieces, of `unpad`."""
        pad = np.zeros((self.rows, self.queries), np.int64)
        unpad: list[NDArray[np.int64]] = []
        at = 0
        for slot, feed in self._slots():
            pad[slot, : feed.queries] = np.arange(at, at + feed.queries)
            unpad.append(np.arange(feed.queries) + slot * self.queries)
            at += feed.queries
        return [pad.ravel(), *unpad]

    def _slots(self) -> list[tuple[int, Feed]]:
        """Which of the call's rows each feed is."""
        return [((feed.block.start - self.start) // self.stride, feed) for feed in self.feeds]


@dataclass(slots=True, eq=False)
class Plan:
    """A pass over packed rows: i64[N] each, on the device.

    `wanted` are the tokens whose logits are asked for: of each feed the last of its lead and its
    proposal, in the order of `parts`; `roots` says where among them a feed's begin, and `starts`
    where among all tokens, both by its place in the batch.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    where: torch.Tensor
    wanted: torch.Tensor
    parts: list[Part]
    roots: list[int]
    starts: list[int]


def make_plan(feeds: Sequence[Feed], device: torch.device) -> Plan:
    """Order the rows by the calls they are attended in, and lay out their tokens."""
    parts: list[Part] = []
    ids: list[int] = []
    positions: list[NDArray[np.int64]] = []
    where: list[NDArray[np.int64]] = []
    wanted: list[NDArray[np.int64]] = []
    places: dict[int, tuple[int, int]] = {}
    asked = 0
    for together in group(feeds, SPARE.get(device.type, _SPARE_ELSEWHERE)):
        parts.append(Part(together, len(ids)))
        for feed in together:
            root = len(ids) + len(feed.lead) - 1
            wanted.append(np.arange(root, root + 1 + len(feed.proposal)))
            places[id(feed)] = asked, len(ids)
            asked += 1 + len(feed.proposal)
            ids += feed.lead
            ids += feed.proposal.tokens.tolist()
            positions.append(feed.positions())
            where.append(np.arange(feed.block.start + feed.past, feed.block.start + feed.keys))
    padded = [part for part in parts if part.padded]
    padding = [piece for part in padded for piece in part.padding()]
    flat = np.concatenate([np.array(ids), *positions, *where, *wanted, *padding])
    size = len(ids)
    sizes = [size, size, size, asked]
    for part in padded:
        sizes += [part.rows * part.queries, part.last - part.first]
    moved = torch.as_tensor(flat, device=device)
    ids_, positions_, where_, wanted_, *pads = cast(
        list[torch.Tensor], cast(Any, moved).split(sizes)
    )
    for part, pad, unpad in zip(padded, pads[::2], pads[1::2], strict=True):
        part.pad, part.unpad = pad, unpad
    roots, starts = zip(*(places[id(feed)] for feed in feeds), strict=True)
    return Plan(ids_, positions_, where_, wanted_, parts, [*roots], [*starts])


def group(feeds: Sequence[Feed], spare: int) -> list[list[Feed]]:
    """Rows to be attended together: where padding them costs less than a call of their own."""
    groups: list[list[Feed]] = []
    for feed in sorted(feeds, key=lambda feed: (feed.block.length, feed.block.start)):
        best, least = None, spare
        for together in groups:
            if together[0].block.length != feed.block.length or together[0].causal or feed.causal:
                continue
            waste = _cells([*together, feed]) - _cells(together) - _cells([feed])
            if waste <= least:
                best, least = together, waste
        if best is None:
            groups.append([feed])
        else:
            best.append(feed)
    return groups


def extent(feeds: Sequence[Feed]) -> tuple[int, int, int]:
    """Rows, queries and keys of a call over `feeds`, in the order of their blocks."""
    first, last = feeds[0].block, feeds[-1].block
    rows = 1 + (last.start - first.start) // first.length
    return rows, max(feed.queries for feed in feeds), max(feed.keys for feed in feeds)


def _cells(feeds: Sequence[Feed]) -> int:
    rows, queries, keys = extent(feeds)
    return rows * queries * keys


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
