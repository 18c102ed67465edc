"""A draft with another vocabulary: it reads the text in its own tokens, and what it would say is
spelled in the target's.

String-level exact matching after Timor et al. 2025, "Accelerating LLM Inference with Lossless
Speculative Decoding Algorithms for Heterogeneous Vocabularies" (SLEM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from tokenizers import Tokenizer

from tascel.codec import Codec
from tascel.draft.base import Proposal, Stem
from tascel.draft.price import Price
from tascel.engines.hf.draft_model import NeuralDraft, NeuralSession
from tascel.errors import ModelError
from tascel.token_bytes import TokenBytes
from tascel.types import SOURCES, Request

#: Tokens of the answer that are spelled again before a continuation, so that it joins them as it
#: would in the whole text.
WINDOW = 32
#: So many of the draft's tokens may one of the target's take on average: in a row's size, and
#: where little room is left.
LONGER = 2
#: Stands before a text while it is spelled: no tokenizer joins it with what follows, and the space
#: that some put before a text comes before it.
_BEFORE = "\n"


def same_vocabulary(one: Codec, other: Codec) -> bool:
    """Whether ids mean the same in both, as far as both have them: then a draft needs no spelling.

    Entries are compared as strings. Either may have more of them, at ids that the other lacks.
    """
    mine, theirs = (
        codec.tokenizer.get_vocab(with_added_tokens=True).items() for codec in (one, other)
    )
    return mine <= theirs or theirs <= mine


class ForeignDraft:
    """`inner` drafts for a target that spells with another tokenizer.

    Limits. The last token of a continuation is withheld unless the draft ends the answer there: one
    more character might make it another token. Special tokens are never proposed, an end neither.
    Nothing is proposed where the two spell the text differently, by a normaliser for instance;
    where the answer ends inside a character; and where the continuation would have made the
    answer's last token another one. Each step spells the whole answer again.

    Args:
        inner: a draft of the model alone, in its own ids.
        own: the codec of its model.
        target: that of the model it drafts for.

    Raises:
        ModelError: the target writes with new tokens.
    """

    def __init__(self, inner: NeuralDraft, own: Codec, target: Codec) -> None:
        if target.new_tokens:
            raise ModelError(
                "a draft with another vocabulary cannot spell new tokens",
                "Use a draft that has the model's own vocabulary",
            )
        self.inner = inner
        self.own, self.target = Spelling(own), Spelling(target)

    @property
    def spent(self) -> float:
        """Milliseconds of its passes so far, by its price."""
        return self.inner.spent

    def open(self, request: Request) -> ForeignSession:
        """Start a request."""
        text = b"".join(map(self.target.bytes_of, request.prompt.tolist()))
        prompt = np.array(self.own.beginning(text.decode(errors="replace")), np.int32)
        asked = Request(request.id, prompt, max_tokens=LONGER * request.max_tokens)
        return ForeignSession(self, self.inner.open(asked))

    def propose_many(
        self,
        sessions: Sequence[ForeignSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
        stems: Sequence[Stem] | None = None,
    ) -> list[Proposal]:
        """One chain for each row, in the target's ids; as `NeuralDraft.propose_many`."""
        stems = stems or [Stem()] * len(sessions)
        proposals = [Proposal.nothing() for _ in sessions]
        able = [at for at, session in enumerate(sessions) if session.tell(stems[at])]
        chains = self.inner.propose_many(
            [sessions[at].inner for at in able],
            [LONGER * (1 + rooms[at] - len(stems[at].tokens)) for at in able],
            price,
            pending,
            rows_of_pass or len(sessions),
            [replace(stems[at], tokens=()) for at in able],
        )
        for at, chain in zip(able, chains, strict=True):
            written = [*sessions[at].written, *stems[at].tokens]
            proposals[at] = self._spelled(written, chain, rooms[at] - len(stems[at].tokens))
        return proposals

    def warm(self) -> None:
        """Run one pass, so that the first request does not wait for what is made on first use."""
        self.inner.warm()

    def forget(self) -> None:
        """As it was built."""
        self.inner.forget()

    def _spelled(self, written: Sequence[int], chain: Proposal, room: int) -> Proposal:
        """A chain in the target's ids, as it goes on behind what is `written`."""
        tokens: list[int] = chain.tokens.tolist()
        special = next((at for at, id_ in enumerate(tokens) if id_ in self.own.specials), None)
        ended = special is not None and tokens[special] in self.inner.engine.eos_ids
        pieces = [self.own.bytes_of(id_) for id_ in tokens[:special]]
        further, before = whole(b"".join(pieces)), self._window(written)
        ids = self.target.ids(before + further) if further else None
        if ids is None:
            return Proposal.nothing()
        ends = [0, *accumulate(len(self.target.bytes_of(id_)) for id_ in ids)]
        begin = len(before.encode())
        if begin not in ends:
            return Proposal.nothing()
        first = ends.index(begin)
        rest = ids[first:] if ended else ids[first:-1]
        stop = next((at for at, id_ in enumerate(rest) if id_ in self.target.specials), None)
        rest = rest[:stop][: max(room, 0)]
        until = np.array(ends[first + 1 :][: len(rest)]) - begin
        said = np.array([*accumulate(map(len, pieces))])
        return Proposal(
            np.array(rest, np.int32),
            np.arange(-1, len(rest) - 1, dtype=np.int16),
            chain.trust[np.searchsorted(said, until)],
            np.full(len(rest), SOURCES.index("neural"), np.uint8),
        )

    def _window(self, written: Sequence[int]) -> str:
        """The text of the last tokens; it begins with a whole character."""
        pieces = [self.target.bytes_of(id_) for id_ in written[-WINDOW:]]
        for begin in range(len(pieces)):
            if (text := decoded(b"".join(pieces[begin:]))) is not None:
                return text
        return ""


class ForeignSession:
    """One request: what is `written` in the target's ids, and `inner` in the draft's own."""

    def __init__(self, draft: ForeignDraft, inner: NeuralSession) -> None:
        self._draft, self.inner = draft, inner
        self._prompt = list(inner.text)
        self.written: list[int] = []

    @property
    def spent(self) -> float:
        """Milliseconds of passes that this request took, by the draft's price."""
        return self.inner.spent

    def propose(
        self, room: int, price: Price, pending: int = 1, stem: Stem | None = None
    ) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`; behind a `stem`, below its
        end."""
        stems = [stem] if stem is not None else None
        return self._draft.propose_many([self], [room], price, pending, stems=stems)[0]

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        self.written += tokens

    def tell(self, stem: Stem) -> bool:
        """Spell the answer and the stem in the draft's ids, if they have such a spelling."""
        text = decoded(b"".join(map(self._draft.target.bytes_of, [*self.written, *stem.tokens])))
        ids = None if text is None else self._draft.own.ids(text)
        if ids is not None:
            self.inner.retell([*self._prompt, *ids])
        return ids is not None

    def close(self) -> None:
        """Free the row."""
        self.inner.close()


class Spelling:
    """One tokenizer's way from bytes to ids and back. `specials` are the ids of control tokens."""

    def __init__(self, codec: Codec) -> None:
        self._tokenizer: Tokenizer = codec.tokenizer
        added = codec.tokenizer.get_added_tokens_decoder().items()
        self.specials = codec.eos_ids | {id_ for id_, token in added if token.special}
        self.bytes_of = TokenBytes(codec.tokenizer)
        self._before = self._tokenizer.encode(_BEFORE, add_special_tokens=False).ids
        framed = self._tokenizer.encode(_BEFORE).ids
        self._opening = framed[: framed.index(self._before[0])] if self._before else []

    def beginning(self, text: str) -> list[int]:
        """The ids of a text as the tokenizer begins one, without what it would close it with."""
        return [*self._opening, *self._tokenizer.encode(text, add_special_tokens=False).ids]

    def ids(self, text: str) -> list[int] | None:
        """The ids of a text that goes on behind another; None if they spell another text."""
        whole = self._tokenizer.encode(_BEFORE + text, add_special_tokens=False).ids
        cut = len(self._before)
        ids = whole[cut:]
        if whole[:cut] != self._before:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids if b"".join(map(self.bytes_of, ids)) == text.encode() else None


def whole(text: bytes) -> str:
    """Bytes as text, up to where a character is broken."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        return text[: error.start].decode()


def decoded(text: bytes) -> str | None:
    """Bytes as text; None if a character is broken."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
