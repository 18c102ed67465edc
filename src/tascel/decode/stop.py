"""When an answer ends and which text is certain. Fed one token at a time, so a block of accepted
tokens ends exactly where one-by-one decoding would."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from tascel.errors import RequestError
from tascel.types import FinishReason


class Detokenizer(Protocol):
    """Ids to text, never splitting a character."""

    def push(self, token: int) -> str:
        """The text that became whole with `token`."""
        ...

    def flush(self) -> str:
        """What is left when the answer ends."""
        ...


class Stopper:
    """Watches one answer for the end-of-sequence ids, the stop strings and the length limit.

    `reason` is None until the answer has ended.
    """

    def __init__(
        self,
        eos_ids: Collection[int],
        stop: Sequence[str],
        max_tokens: int,
        detokenizer: Detokenizer,
    ) -> None:
        if "" in stop:
            raise RequestError("a stop string is empty", "Leave it out")
        self.reason: FinishReason | None = None
        self._eos_ids = eos_ids
        self._stop = stop
        self._left = max_tokens
        self._detokenizer = detokenizer
        self._held = ""

    def ends(self, token: int) -> bool:
        """Whether `token` ends any answer."""
        return token in self._eos_ids

    def push(self, token: int) -> str:
        """Take the next token; return the text that is now certain."""
        self._left -= 1
        if token in self._eos_ids:
            return self._end("stop")
        text = self._release(self._detokenizer.push(token))
        if self.reason is None and self._left <= 0:
            text += self._end("length")
        return text

    def _end(self, reason: FinishReason) -> str:
        text = self._release(self._detokenizer.flush())
        if self.reason is None:
            self.reason = reason
            text += self._held
        return text

    def _release(self, piece: str) -> str:
        """Add `piece`, cut before a stop string, hold back what could still become one."""
        text = self._held + piece
        found = [(at + len(s), at) for s in self._stop if (at := text.find(s)) >= 0]
        if found:  # the one that completes first; of two that complete together the longer
            self.reason = "stop"
            return text[: min(found)[1]]
        hold = max((_overlap(text, s) for s in self._stop), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
