"""A small language model as a draft: what it would say next, and how far that is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from tascel.decode.engine import Row, Verdict, common
from tascel.draft.base import Proposal, Stem
from tascel.draft.chain import Chain, Terms
from tascel.draft.confidence import Confidence
from tascel.draft.price import Price
from tascel.engines.hf.engine import HfEngine
from tascel.types import Request

#: Tokens of a chain, at most.
LIMIT = 8
#: Tokens of a text that a row reads in one pass.
PIECE = 512
#: Where a first guess would not pay, every so-manieth time it is made all the same: else a draft
#: that was bad for a while would never be asked again. Not where even a sure one would not.
PROBE = 32


class NeuralDraft:
    """Drafts greedy chains of a causal language model that has the target's vocabulary.

    Each request is a row of an engine of its own on `model`; all rows of a batch are read in one
    pass. A chain ends where the next token would not pay: its trust, by the draft's probability and
    what `confidence` has counted, against the target's price and the draft's own. It drafts behind
    the prompt as well, and reads it then. A request is given up, without proposals, when its text
    has ids that the model does not know, or no row is free for it when it is first drafted for.
    What it proposes follows from the texts, the prices and what was written before: no clock.

    Attributes:
        spent: milliseconds of its passes so far, by its price.

    Args:
        model: the draft; its parameters may be the target's own.
        price: what its passes cost.
        confidence: how far its probabilities were right; it goes on learning.
        limit: tokens of a chain, at most.
        vocab_size: ids from this on are never proposed; default: the model's own. Set it where the
            model's matrices are padded beyond the target's.
        cache_tokens: as `HfEngine` takes it.

    Raises:
        ModelError: the model is no decoder, or cannot take rejected tokens back.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        price: Price,
        confidence: Confidence | None = None,
        *,
        limit: int = LIMIT,
        vocab_size: int | None = None,
        cache_tokens: int | None = None,
    ) -> None:
        self.engine = HfEngine(model, cache_tokens=cache_tokens)
        self.price = price
        self.confidence = confidence or Confidence()
        self.limit = limit
        self.vocab_size = min(vocab_size or self.engine.vocab_size, self.engine.vocab_size)
        self.spent = 0.0
        self._declined = 0

    def open(self, request: Request) -> NeuralSession:
        """Start a request; its row is opened when it is first drafted for."""
        prompt: list[int] = request.prompt.tolist()
        return NeuralSession(self, prompt, len(prompt) + request.max_tokens)

    def propose_many(
        self,
        sessions: Sequence[NeuralSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
        stems: Sequence[Stem] | None = None,
    ) -> list[Proposal]:
        """One chain for each row, at most `rooms` tokens deep, the stem's included.

        The verify pass carries `pending` tokens anyway, of these rows and maybe of others:
        `rows_of_pass` in all. What is proposed behind a stem hangs below its end.
        """
        stems = stems or [Stem()] * len(sessions)
        rows = rows_of_pass or len(sessions)
        growing: list[_Growing] = []
        for session, room, stem in zip(sessions, rooms, stems, strict=True):
            most = min(room - len(stem.tokens), self.limit, session.room(stem))
            session.chain = None
            if most > 0:
                terms = Terms.of(price, pending, rows, stem.width + most, self._step(len(sessions)))
                chain = Chain(stem, most, terms, self.confidence)
                if self._worth_asking(chain) and session.ready():
                    session.chain = chain
                    growing.append(_Growing(session, chain, session.catch_up(stem)))
        while growing:
            verdicts = self._pass(growing)
            growing = [
                row
                for row, verdict in zip(growing, verdicts, strict=True)
                if self._on(row, verdict)
            ]
        return [
            session.chain.proposal() if session.chain else Proposal.nothing()
            for session in sessions
        ]

    def warm(self) -> None:
        """Run one pass, so that the first request does not wait for what is made on first use."""
        session = self.open(Request(id="warm", prompt=np.array([0, 1], np.int32), max_tokens=4))
        session.propose(2, Price.from_points({1: 1e9}))  # beside that, asking costs nothing
        session.close()
        self.forget()

    def forget(self) -> None:
        """As it was built, but for what it has `spent`."""
        self.confidence.forget()
        self.engine.forget()
        self._declined = 0

    def _step(self, rows: int) -> float:
        """Milliseconds of one token's pass of so many rows, one row's share."""
        return self.price.plain(rows) / rows

    def _worth_asking(self, chain: Chain) -> bool:
        if chain.wants():
            return True
        if not chain.could_pay():
            return False
        self._declined += 1
        return self._declined % PROBE == 0

    def _pass(self, growing: Sequence[_Growing]) -> list[Verdict]:
        """Each row reads on, as far as one pass goes."""
        rows = [row.session.row for row in growing]
        leads = [np.array(row.unread[:PIECE], np.int32) for row in growing]
        verdicts = self.engine.check(rows, leads, [Proposal.nothing()] * len(rows))
        self.engine.keep(rows, [[] for _ in rows])
        total = sum(map(len, leads))
        spent = float(self.price.curve(total, 0, len(rows))[0])
        self.spent += spent
        for row, lead in zip(growing, leads, strict=True):
            row.session.read += lead.tolist()
            row.session.spent += spent * len(lead) / total
            del row.unread[:PIECE]
        return verdicts

    def _on(self, row: _Growing, verdict: Verdict) -> bool:
        """Whether the row goes on after a pass."""
        if row.unread:
            return True
        logits = verdict.logits(-1)[: self.vocab_size]
        token = int(logits.argmax())
        probability = float(1.0 / np.exp(logits - logits[token]).sum())
        if not probability > 0:  # not a number
            return False
        row.unread.append(token)
        return (
            row.chain.push(token, probability)
            and token not in self.engine.eos_ids
            and row.chain.wants()
        )


@dataclass(slots=True, eq=False)
class _Growing:
    """A row whose chain may grow, and what it reads first."""

    session: NeuralSession
    chain: Chain
    unread: list[int]


class NeuralSession:
    """One request: its `text` so far, and the row that has `read` some of it, and guesses behind.

    Attributes:
        draft: what opened it.
        chain: what was proposed last; None if nothing was.
        spent: milliseconds of draft passes that this request took, by the draft's price.
    """

    def __init__(self, draft: NeuralDraft, text: list[int], size: int) -> None:
        engine = draft.engine
        self.draft = draft
        self._size = min(size, engine.draft_limit, engine.cache_tokens)
        self._given_up = not text
        self.text: list[int] = []
        self.row: Row = None
        self.read: list[int] = []
        self.chain: Chain | None = None
        self.spent = 0.0
        self._extend(text)

    def propose(
        self, room: int, price: Price, pending: int = 1, stem: Stem | None = None
    ) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`; behind a `stem`, below its
        end."""
        stems = [stem] if stem is not None else None
        return self.draft.propose_many([self], [room], price, pending, stems=stems)[0]

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        if self.chain is not None:
            self.chain.learn(tokens)
            self.chain = None
        self._extend(tokens)

    def retell(self, text: Sequence[int]) -> None:
        """The text is now `text`, which may differ from what it was."""
        known = len(self.text)
        if self.chain is not None and list(text[:known]) == self.text:
            self.chain.learn(text[known:])
        self.chain, self.text = None, []
        self._extend(text)

    def close(self) -> None:
        """Free the row."""
        if self.row is not None:
            self.draft.engine.close(self.row)
        self.row, self._given_up = None, True

    def room(self, stem: Stem) -> int:
        """How many tokens may be guessed behind a stem."""
        top = self.draft.engine.vocab_size
        if self._given_up or not all(0 <= token < top for token in stem.tokens):
            return 0
        return self._size - len(self.text) - len(stem.tokens)

    def ready(self) -> bool:
        """Whether it has a row, or one can be opened now."""
        if self.row is None and not self._given_up:
            engine = self.draft.engine
            if engine.fits(self._size):
                self.row, shared = engine.open(np.array(self.text, np.int32), self._size)
                self.read = self.text[:shared]
            else:
                self._given_up = True
        return self.row is not None

    def catch_up(self, stem: Stem) -> list[int]:
        """Take back what was read and is not so; what there is to read instead, one token at
        least."""
        wanted = [*self.text, *stem.tokens]
        same = common(np.array(self.read, np.int32), np.array(wanted, np.int32))
        kept = min(same, len(wanted) - 1)
        self.draft.engine.drop(self.row, len(self.read) - kept)
        del self.read[kept:]
        return wanted[kept:]

    def _extend(self, tokens: Sequence[int]) -> None:
        top = self.draft.engine.vocab_size
        self._given_up = self._given_up or not all(0 <= token < top for token in tokens)
        self.text += tokens
