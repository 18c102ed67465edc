"""Two tokenizers' tokens of one text side by side, by the bytes they write.

Characters would not do: where an emoji is split over several tokens, each of them lies inside one
character.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from tascel.codec import Codec
from tascel.token_bytes import TokenBytes
from tascel.types import Ids

Ints = NDArray[np.int64]

#: Two tokenizers with one vocabulary that agree here read every text alike, for our purposes.
_PROBE = "Hello  wörld!\n\t{\"a_b\": [-12.50, '你好'], 🙂 x = f(y) // 2026-01-31 İstanbul   "
#: Bytes that are no text become as many question marks, so that no byte moves.
_LOST = "tascel_question_marks"


def _question_marks(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


codecs.register_error(_LOST, _question_marks)


class Spans(NamedTuple):
    """Which bytes of a text each token writes: from `starts` to before `ends`, i64[n] both,
    neither ever falling; empty for tokens that write none."""

    starts: Ints
    ends: Ints


class Cover(NamedTuple):
    """By token of one side the tokens of the other that share bytes with it.

    They are `many[i]` of `which` from `first[i]` on: i64[n], i64[n] and i64[m], m being the tokens
    of the other side that write anything.
    """

    first: Ints
    many: Ints
    which: Ints

    def mean(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of states `[k, d]` of the other side's tokens: the mean of those that cover a token, 0
        where none does: `[n, d]`, same dtype; and where any does: bool[n]."""
        device = states.device
        total = torch.zeros(len(self.first), states.shape[-1], device=device)
        # Token after token, as a sum of unordered parts would differ from run to run on a GPU.
        for at in range(int(self.many.max(initial=0))):
            rows = np.flatnonzero(self.many > at)
            source = torch.as_tensor(self.which[self.first[rows] + at], device=device)
            total[torch.as_tensor(rows, device=device)] += states[source].float()
        count = torch.as_tensor(self.many, device=device)
        return (total / count.clamp(min=1)[:, None]).to(states.dtype), count > 0


class Reading(NamedTuple):
    """A prompt as the other side reads it: its ids there, and which of them cover each token."""

    ids: list[int]
    cover: Cover


def cover(one: Spans, other: Spans) -> Cover:
    """Which tokens of `other` share bytes with each of `one`."""
    which = np.flatnonzero(other.ends > other.starts)
    starts, ends = other.starts[which], other.ends[which]
    first = np.searchsorted(ends, one.starts, side="right")
    count = np.searchsorted(starts, one.ends, side="left") - first
    return Cover(first, np.where(one.ends > one.starts, np.maximum(count, 0), 0), which)


class Aligner:
    """Reads the prompts of a `writer` with another model's `tokenizer`, at most `limit` tokens of
    them; what lies behind is covered by nothing.

    Where both read texts alike, ids stay as they are. Else, or if the other knows not all of them,
    the writer's special tokens, which mean nothing to the other, write no bytes, and the tokenizer
    adds its own.
    """

    def __init__(self, writer: Codec, tokenizer: Tokenizer, limit: int) -> None:
        self._limit = limit
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())  # it is set to truncate
        self.same = same(writer, self._tokenizer)
        self._end = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self._writes = TokenBytes(writer.tokenizer)
        self._reads = TokenBytes(self._tokenizer)
        added = writer.tokenizer.get_added_tokens_decoder()
        self._silent = frozenset(id_ for id_, token in added.items() if token.special)
        cast(Any, self._tokenizer).enable_truncation(limit)

    def __call__(self, prompt: Ids) -> Reading:
        """The reading of a prompt i32[n]."""
        ids = cast(list[int], prompt.tolist())
        if self.same and max(ids, default=0) < self._end:
            kept = np.arange(min(len(ids), self._limit))
            first, count = np.arange(len(ids)), np.zeros(len(ids), np.int64)
            count[kept] = 1
            return Reading(ids[: self._limit], Cover(first, count, kept))
        pieces = [b"" if id_ in self._silent else self._writes(id_) for id_ in ids]
        text = b"".join(pieces).decode(errors=_LOST)
        encoding = self._tokenizer.encode(text)
        return Reading(encoding.ids, cover(_joined(pieces), self.spans(text, encoding)))

    def spans(self, text: str, encoding: Encoding) -> Spans:
        """What the tokens of an encoding of `text` write: by their own bytes where these are the
        text, else, where the tokenizer changes it, by the characters it says they come from."""
        own = [
            b"" if special else self._reads(id_)
            for id_, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        ]
        joined, whole = b"".join(own), text.encode()
        for before in (b"", b" "):  # some begin every text with a space
            if (before + whole).startswith(joined):
                starts, ends = _joined(own)
                return Spans(np.maximum(starts - len(before), 0), np.maximum(ends - len(before), 0))
        at = np.cumsum([0, *(len(char.encode()) for char in text)])
        said = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        said[np.array(encoding.special_tokens_mask, bool)] = 0
        starts, ends = np.maximum.accumulate(at[said], axis=0).T
        return Spans(starts, np.where(said[:, 1] > said[:, 0], ends, starts))


def same(writer: Codec, tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer reads every text as the writer does, new tokens aside: no prompt has
    any."""
    new = writer.new_tokens.runs
    known = writer.tokenizer.get_vocab(with_added_tokens=True)
    base = {token: id_ for token, id_ in known.items() if id_ not in new} if new else known
    if tokenizer.get_vocab(with_added_tokens=True) not in (known, base):
        return False
    one, other = (t.encode(_PROBE, add_special_tokens=False) for t in (writer.tokenizer, tokenizer))
    return one.ids == other.ids


def _joined(pieces: Sequence[bytes]) -> Spans:
    """The spans of pieces that lie one behind the other."""
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return Spans(ends - [len(piece) for piece in pieces], ends)
