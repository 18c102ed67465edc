"""Where keys and values lie: one long tensor a layer, cut into blocks for rows.

A block is a power of two of tokens and begins at a multiple of its length, so rows with blocks of
one length are evenly spaced, and a strided view shows any of them as a batch without copying.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

#: The shortest block, and how far the tensors reach at first.
SHORTEST = 64
_FIRST = 1024


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens `start` to `start + length` of every layer's tensor."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """One behind the last token."""
        return self.start + self.length


class Slab:
    """The blocks of all rows, inside a budget of `tokens`.

    Tensors are made when a layer first writes, with the shape and dtype that it writes, and grow by
    doubling until they hold the budget. Unwritten places are zero: what is masked must be finite.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._taken: dict[int, Block] = {}
        self._layers: dict[int, _Layer] = {}
        self._reach = min(_FIRST, tokens)

    @property
    def reach(self) -> int:
        """How many tokens the tensors have room for."""
        return self._reach

    def room(self, size: int, without: Iterable[Block] = ()) -> bool:
        """Whether a block for `size` tokens is free, or would be if those `without` were."""
        return self._place(length_for(size), without) + length_for(size) <= self.tokens

    def take(self, size: int) -> Block:
        """The first free block for `size` tokens; there must be `room` for one."""
        length = length_for(size)
        block = Block(self._place(length), length)
        self._taken[block.start] = block
        if block.end > self._reach:
            self._stretch(min(max(block.end, 2 * self._reach), self.tokens))
        for layer in self._layers.values():
            for whole in (layer.keys, layer.values):  # what was left there may be no number
                whole[block.start : block.end] = 0
        return block

    def free(self, block: Block) -> None:
        """Give a block back."""
        del self._taken[block.start]

    def write(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor, where: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put `[1, H, N, D]` at the tokens `where` i64[N]; all of the layer as `[1, H, T, D]`."""
        if layer not in self._layers:
            self._layers[layer] = _Layer.zeros(self._reach, keys, values)
        kept = self._layers[layer]
        if where.device != kept.keys.device:
            where = where.to(kept.keys.device)
        kept.keys.index_copy_(0, where, keys[0].transpose(0, 1))
        kept.values.index_copy_(0, where, values[0].transpose(0, 1))
        return kept.seen

    def move(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy the tokens at `source` i64[N] to `target` i64[N], in all layers."""
        for layer in self._layers.values():
            for whole in (layer.keys, layer.values):
                states = whole.index_select(0, source.to(whole.device))
                whole.index_copy_(0, target.to(whole.device), states)

    def copy(self, source: Block, target: Block, count: int) -> None:
        """Copy the first `count` tokens of a block to another one."""
        for layer in self._layers.values():
            for whole in (layer.keys, layer.values):
                states = whole[source.start : source.start + count]
                whole[target.start : target.start + count] = states

    def _place(self, length: int, without: Iterable[Block] = ()) -> int:
        """The first multiple of `length` with so many free tokens behind it."""
        at, absent = 0, {block.start for block in without}
        for block in sorted(self._taken.values(), key=lambda block: block.start):
            if block.start in absent:
                continue
            if at + length <= block.start:
                break
            at = max(at, -(-block.end // length) * length)
        return at

    def _stretch(self, reach: int) -> None:
        for number, layer in list(self._layers.items()):
            longer = _Layer.zeros(reach, *layer.seen)
            longer.keys[: self._reach] = layer.keys
            longer.values[: self._reach] = layer.values
            self._layers[number] = longer
        self._reach = reach


class _Layer:
    """Keys and values `[T, H, D]` of one layer; `seen` is a view of them as `[1, H, T, D]`."""

    __slots__ = ("keys", "seen", "values")

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys, self.values = keys, values
        self.seen = keys.transpose(0, 1)[None], values.transpose(0, 1)[None]

    @staticmethod
    def zeros(reach: int, keys: torch.Tensor, values: torch.Tensor) -> _Layer:
        """Of the heads, widths, dtype and device of `[1, H, N, D]`."""
        return _Layer(
            *(like.new_zeros(reach, like.shape[1], like.shape[3]) for like in (keys, values))
        )


def length_for(size: int) -> int:
    """The length of a block that holds `size` tokens."""
    return max(SHORTEST, 1 << (size - 1).bit_length())
