"""The draft itself: corpus and context matched, mixed by a rule, grown while a token pays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tascel.draft import kernels
from tascel.draft.base import Proposal
from tascel.draft.context import Context
from tascel.draft.corpus import Corpus
from tascel.draft.price import Price
from tascel.draft.trust import Trust
from tascel.types import Ids, Request


@dataclass(frozen=True, slots=True)
class DraftConfig:
    """How sources are mixed and how far a draft may grow.

    `calibrated` (the default) believes each source as far as it was right on held-out traces and
    grows a tree while the next node pays. `interpolate` is TASC-spec with its published settings:
    n-grams up to `order`, seen `least` times in the corpus, `weight` on the corpus, a chain of
    always `most` tokens where there is a match.
    """

    rule: Literal["calibrated", "interpolate"] = "calibrated"
    most: int = 32
    trees: bool = True
    order: int = 4
    least: int = 5
    weight: float = 0.75

    def __post_init__(self) -> None:
        if self.rule not in ("calibrated", "interpolate"):
            raise ValueError(f"unknown mixing rule {self.rule!r}: calibrated or interpolate")
        if not 0 <= self.most <= 1024:
            raise ValueError(f"a draft of {self.most} tokens: choose 0 to 1024")

    @staticmethod
    def published() -> DraftConfig:
        """TASC-spec as published: n at most 4, count at least 5, 0.75 on the corpus, 10 tokens."""
        return DraftConfig(rule="interpolate", most=10, trees=False)


class NgramDraft:
    """Drafts from a corpus and each request's own context. Shared by all requests."""

    def __init__(
        self,
        corpus: Corpus,
        trust: Trust,
        eos_ids: Iterable[int],
        vocab_size: int,
        config: DraftConfig | None = None,
    ) -> None:
        self.corpus = corpus
        self.config = config or DraftConfig()
        self.vocab_size = vocab_size
        self.eos = np.array(sorted(eos_ids), np.int32)
        self.table = trust.table()
        self.reliability = trust.reliability()

    def open(self, request: Request) -> NgramSession:
        """Start a request."""
        return NgramSession(self, request.prompt)

    def warm(self) -> None:
        """Run every kernel once, so that the first request does not wait for a compiler."""
        prompt = np.array([0, 1, 0], np.int32)
        session = self.open(Request(id="warm", prompt=prompt))
        session.propose(4, Price.free())
        session.accept([0], Proposal.nothing(), 0)
        session.close()


class NgramSession:
    """One request's place in the corpus and its context."""

    def __init__(self, draft: NgramDraft, prompt: Ids) -> None:
        self._draft = draft
        self._context = Context(prompt)
        self._matches = np.empty((kernels.MATCHES, 3), np.int32)
        self._spare = np.empty_like(self._matches)
        self._n_matches = 0
        self._step(kernels.SEPARATOR)  # the answer starts where past outputs start

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`."""
        draft, config, context = self._draft, self._draft.config, self._context
        most = min(config.most, room) if not config.trees else config.most
        if most < 1 or room < 1:
            return Proposal.nothing()
        tokens, parents = np.empty(most, np.int32), np.empty(most, np.int16)
        trust, source = np.empty(most, np.float32), np.empty(most, np.uint8)
        calibrated = config.rule == "calibrated"
        width = kernels.grow(
            draft.corpus.text, draft.corpus.array, self._matches, self._n_matches,
            context.tokens, context.length, context.lengths,
            calibrated, draft.table, draft.reliability, config.order, config.least, config.weight,
            price.curve(pending, most), room, not config.trees, calibrated,
            draft.eos, draft.vocab_size, tokens, parents, trust, source,
        )  # fmt: skip
        return Proposal(tokens[:width], parents[:width], trust[:width], source[:width])

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        for token in tokens:
            self._step(token)
            self._context.append(token)

    def close(self) -> None:
        """Nothing outlives the request."""

    def _step(self, token: int) -> None:
        corpus = self._draft.corpus
        self._n_matches = kernels.advance(
            corpus.text, corpus.array, self._matches, self._n_matches, np.int32(token), self._spare
        )
        self._matches, self._spare = self._spare, self._matches
