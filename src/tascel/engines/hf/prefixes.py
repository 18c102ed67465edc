"""Texts whose keys are kept after their rows have closed, for prompts that begin alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tascel.decode.engine import common
from tascel.engines.hf.slab import Block, Slab, length_for
from tascel.types import Ids

#: Fewer tokens than this are read again rather than shared.
SHORTEST_SHARED = 16


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Tokens i32[n] whose keys lie in the first places of `block`; `tenant` is who may share them:
    a shared beginning shows in time and in counts, and so tells what others have read."""

    tokens: Ids
    block: Block
    tenant: str | None = None


class Prefixes:
    """Texts of closed rows, the one used longest ago first; `budget` tokens of blocks at most."""

    def __init__(self, slab: Slab, budget: int) -> None:
        self._slab = slab
        self._budget = budget
        self._texts: list[Text] = []

    @property
    def blocks(self) -> list[Block]:
        """What could be given up for rows."""
        return [text.block for text in self._texts]

    def retain(self, tokens: Sequence[int], block: Block, tenant: str | None = None) -> None:
        """Keep the text of a row that closes, or free its block. Long blocks are left for short."""
        new = np.array(tokens, np.int32)
        alike = [(text, common(text.tokens, new)) for text in self._texts if text.tenant == tenant]
        covered = next((text for text, shared in alike if shared == len(new)), None)
        length = length_for(max(1, len(new)))
        moves = length < block.length
        if (
            covered is not None
            or len(new) < SHORTEST_SHARED
            or length > self._budget
            or (moves and not self._slab.room(length, self.blocks))
        ):
            self._slab.free(block)
            if covered is not None:
                self._touch(covered)
            return
        for text, shared in alike:
            if shared == len(text.tokens):
                self._drop(text)
        while sum(kept.length for kept in self.blocks) + length > self._budget:
            self._drop(self._texts[0])
        if moves and self._slab.room(length):
            shorter = self._slab.take(length)
            self._slab.copy(block, shorter, len(new))
            self._slab.free(block)
            block = shorter
        if block.length > length:
            self._slab.free(block)
        else:
            self._texts.append(Text(new, block, tenant))

    def longest(
        self, prompt: Ids, rows: Iterable[Text], tenant: str | None = None
    ) -> tuple[Block, int] | None:
        """Where the longest shared beginning of `prompt` lies among the tenant's texts, and its
        length: not all of the prompt, since there must be something to read."""
        best, count = None, SHORTEST_SHARED - 1
        for text in (*rows, *self._texts):
            if text.tenant != tenant:
                continue
            length = common(text.tokens, prompt[:-1])
            if length > count:
                best, count = text, length
        if best is None:
            return None
        if best in self._texts:
            self._touch(best)
        return best.block, count

    def give_up(self, size: int) -> None:
        """Forget texts until a row of `size` tokens has room, or none is left."""
        while self._texts and not self._slab.room(size):
            self._drop(self._texts[0])

    def forget(self) -> None:
        """Forget all texts."""
        while self._texts:
            self._drop(self._texts[0])

    def _touch(self, text: Text) -> None:
        self._texts.remove(text)
        self._texts.append(text)

    def _drop(self, text: Text) -> None:
        self._texts.remove(text)
        self._slab.free(text.block)
