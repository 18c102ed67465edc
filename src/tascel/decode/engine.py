"""What the loop asks of a runtime. Engines are thin: they run passes and keep the KV cache."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal
from tascel.errors import ModelError
from tascel.types import Ids

Row = Hashable


def not_numbers() -> ModelError:
    """What is raised over logits that are NaN."""
    return ModelError(
        "the model's logits are not numbers", "Load it with dtype float32 or bfloat16"
    )


def common(one: Ids, other: Ids) -> int:
    """How many first tokens two texts share."""
    least = min(len(one), len(other))
    differ = np.flatnonzero(one[:least] != other[:least])
    return int(differ[0]) if len(differ) else least


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


class Rough(Protocol):
    """A pass of the same rows that costs less and knows less."""

    def __call__(self, rows: Sequence[Row], leads: Sequence[Ids]) -> list[Verdict]:
        """Feed each row its lead. In the verdicts, which have no node but the root, some ids may
        be missing (-inf).

        The tokens are not kept: the next `check` finds that they were read if they are offered to
        it, the first lead among them as its lead, and takes them back else.
        """
        ...


class Engine(Protocol):
    """One model in one runtime, seen as rows of cached tokens; a batch of one is no special
    case."""

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
    #: Whether rows share a pass; otherwise they run one after the other.
    packed: bool
    #: Tokens that all rows together may hold.
    cache_tokens: int
    #: Passes that guess; None if it has none, or cannot take tokens back.
    rough: Rough | None

    @property
    def prefixes(self) -> bool:
        """Whether what rows have read is kept for requests that begin alike; can be set."""
        ...

    @prefixes.setter
    def prefixes(self, kept: bool) -> None: ...

    def fits(self, size: int) -> bool:
        """Whether a row of `size` tokens could be opened now."""
        ...

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """A row that will hold up to `size` tokens, prompt and answer.

        Also how many tokens of `prompt` it holds already, since another row of the same `tenant`
        read them: less than all, so that there is something to read.
        """
        ...

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """One pass over rows: each is fed its lead, i32[n] with n at least 1, and then its
        proposal, which hangs below the last token of the lead. A lead is the prompt, a piece of it,
        or the token last written. `keep` must follow before the row's next pass."""
        ...

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Keep the leads and of each proposal the nodes of the path; take the rest back."""
        ...

    def close(self, row: Row) -> None:
        """Free the row's cache."""
        ...

    def forget(self) -> None:
        """Drop prompts that are kept only for later requests to share."""
        ...
