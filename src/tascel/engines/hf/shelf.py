"""A bundle's neural drafts in memory: made when first asked for, the least used let go again."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel

from tascel.draft.base import Proposal, Stem
from tascel.draft.confidence import Confidence
from tascel.draft.price import Price
from tascel.engines.hf.draft_model import NeuralDraft, NeuralSession
from tascel.engines.hf.layers import keep_layers, own_bytes, with_changes
from tascel.engines.hf.quiet import short
from tascel.errors import TascelError
from tascel.neural import Neural, adapter_folder
from tascel.types import Request


class Shelf:
    """Makes the drafts of `neural`, whose adapters lie in `bundle`, out of the model they draft
    for.

    Their layers are copies, so that `target` itself stays as it is; together they may hold
    `most_bytes`. A draft that alone has more, or that cannot be made, drafts nothing, and a warning
    says so once. One that is let go while requests use it lives until they end.

    Args:
        vocab_size: of the target: no other ids are proposed.
        price: what the target's passes cost.
        cache_tokens: what the rows of each draft may hold together, as `HfEngine` takes it.
    """

    def __init__(
        self,
        target: PreTrainedModel,
        neural: Neural,
        bundle: Path,
        price: Price,
        vocab_size: int,
        most_bytes: int,
        cache_tokens: int | None = None,
    ) -> None:
        self._target, self._neural, self._bundle, self._price = target, neural, bundle, price
        self._vocab_size, self._most, self._cache_tokens = vocab_size, most_bytes, cache_tokens
        self._made: OrderedDict[int, tuple[NeuralDraft, int]] = OrderedDict()
        self._refused: set[int] = set()

    @property
    def held(self) -> dict[str, int]:
        """The drafts in memory by name, least recently used first, and the bytes of each."""
        return {self._neural.drafts[at].name: size for at, (_, size) in self._made.items()}

    def draft(self, at: int) -> ShelvedDraft:
        """The draft with this number, not made yet."""
        return ShelvedDraft(self, at)

    def get(self, at: int) -> NeuralDraft | None:
        """The draft with this number, made now if need be; None if that cannot be."""
        if at in self._refused:
            return None
        if at not in self._made:
            try:
                draft, size = self._make(at)
            except (TascelError, RuntimeError) as reason:  # torch's, where memory is short
                return self._refuse(at, short(reason))
            if size > self._most:
                return self._refuse(at, f"{size:,} bytes are more than all drafts may hold")
            while self._made and size + sum(of for _, of in self._made.values()) > self._most:
                self._made.popitem(last=False)
            self._made[at] = draft, size
        self._made.move_to_end(at)
        return self._made[at][0]

    def made(self, at: int) -> NeuralDraft | None:
        """The draft with this number if it is in memory."""
        return self._made[at][0] if at in self._made else None

    def _make(self, at: int) -> tuple[NeuralDraft, int]:
        """A draft, and the bytes of its own weights."""
        facts = self._neural.drafts[at]
        cut = keep_layers(self._target, range(facts.layers))
        model = with_changes(cut, adapter_folder(self._bundle, at))
        draft = NeuralDraft(
            model,
            facts.price(self._price),
            Confidence(facts.confidence.counts),
            vocab_size=self._vocab_size,
            cache_tokens=self._cache_tokens,
        )
        return draft, own_bytes(model, self._target)

    def _refuse(self, at: int, why: str) -> None:
        self._refused.add(at)
        warnings.warn(
            f"the neural draft {self._neural.drafts[at].name} is left out: {why}", stacklevel=4
        )


class ShelvedDraft:
    """A draft on the shelf. What it proposes is the made one's; nothing where that cannot be."""

    def __init__(self, shelf: Shelf, at: int) -> None:
        self._shelf, self._at = shelf, at

    def open(self, request: Request) -> ShelvedSession:
        """Start a request, with the draft as it is in memory now."""
        draft = self._shelf.get(self._at)
        return ShelvedSession(draft, draft.open(request) if draft is not None else None)

    def propose_many(
        self,
        sessions: Sequence[ShelvedSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
        stems: Sequence[Stem] | None = None,
    ) -> list[Proposal]:
        """`NeuralDraft.propose_many`, the rows of one draft in one call."""
        stems = stems or [Stem()] * len(sessions)
        found = [Proposal.nothing()] * len(sessions)
        rows: dict[int, list[int]] = {}
        for row, session in enumerate(sessions):
            if session.draft is not None:
                rows.setdefault(id(session.draft), []).append(row)
        for some in rows.values():
            draft = cast(NeuralDraft, sessions[some[0]].draft)
            made = draft.propose_many(
                [cast(NeuralSession, sessions[row].inner) for row in some],
                [rooms[row] for row in some],
                price,
                pending,
                rows_of_pass or len(sessions),
                [stems[row] for row in some],
            )
            for row, proposal in zip(some, made, strict=True):
                found[row] = proposal
        return found

    def forget(self) -> None:
        """What requests taught it is dropped; if it is not in memory there is nothing."""
        draft = self._shelf.made(self._at)
        if draft is not None:
            draft.forget()


class ShelvedSession:
    """One request: the session that its `draft` opened, None if there is no such draft."""

    def __init__(self, draft: NeuralDraft | None, inner: NeuralSession | None) -> None:
        self.draft, self.inner = draft, inner

    @property
    def spent(self) -> float:
        """Milliseconds of draft passes, by price."""
        return self.inner.spent if self.inner is not None else 0.0

    def propose(
        self, room: int, price: Price, pending: int = 1, stem: Stem | None = None
    ) -> Proposal:
        """As the draft's own session."""
        if self.inner is None:
            return Proposal.nothing()
        return self.inner.propose(room, price, pending, stem)

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        if self.inner is not None:
            self.inner.accept(tokens, offered, taken)

    def close(self) -> None:
        """Free the row."""
        if self.inner is not None:
            self.inner.close()
