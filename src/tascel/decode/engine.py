"""What the loop asks of a runtime. Engines are thin: they run passes and keep the KV cache."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal
from tascel.types import Ids, Request

Row = Hashable


class Verdict(Protocol):
    """The model's answer to one row of a pass.

    Node -1 is the root (the last token known before the proposal), node i the i-th of the proposal.
    """

    def argmax(self, node: int) -> int:
        """The id with the highest raw logit after `node`; the lowest id among equals."""
        ...

    def logits(self, node: int) -> NDArray[np.float32]:
        """Raw logits after `node`: f32[V]; the caller may write into the array."""
        ...


class Engine(Protocol):
    """One model in one runtime, seen as rows of cached tokens (`[B, W]`; batch 1 is no special
    case)."""

    #: Longest prompt plus answer the model can hold, in tokens.
    context_limit: int
    #: Up to how many tokens, prompt included, a draft may reach (`context_limit`, unless positions
    #: beyond some length are computed differently).
    draft_limit: int
    #: Ids run from 0 to `vocab_size` - 1.
    vocab_size: int
    #: Ids that end an answer.
    eos_ids: frozenset[int]
    #: Whether `check` takes trees; otherwise proposals must be chains.
    trees: bool
    #: Whether rejected tokens can be taken back; otherwise nothing may be drafted.
    drafts: bool

    def prefill(
        self, requests: Sequence[Request], first: Sequence[Proposal]
    ) -> tuple[list[Row], list[Verdict]]:
        """Read the prompts, each with its first proposal riding on the same pass."""
        ...

    def check(
        self, rows: Sequence[Row], roots: Ids, proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """One pass: row b is fed `roots[b]` and then its proposal. i32[B] roots."""
        ...

    def keep(self, row: Row, path: Sequence[int]) -> None:
        """Keep root and the nodes of `path` of the last proposal in the cache, drop the rest."""
        ...

    def close(self, row: Row) -> None:
        """Free the row's cache."""
        ...
