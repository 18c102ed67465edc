"""An answer's ids to text, as they come."""

from __future__ import annotations

from tokenizers import Tokenizer

_REPLACEMENT = "\ufffd"


class Detokenizer:
    """Turns one answer's ids into text as they come; holds back characters not yet complete.

    Decodes a short window of ids each time, since some tokenizers write a token differently at the
    start of a text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._known = 0
        self._shown = ""

    def push(self, token: int) -> str:
        """The text that became certain with `token`; empty while a character is open."""
        self._window.append(token)
        text = self._text()
        certain = text.rstrip(_REPLACEMENT)
        if len(certain) <= len(self._shown):
            return ""
        new = certain[len(self._shown) :]
        if certain == text:
            self._window = self._window[self._known :]
            self._known = len(self._window)
            certain = self._text()
        self._shown = certain
        return new

    def flush(self) -> str:
        """What is still held back, broken characters as U+FFFD."""
        new = self._text()[len(self._shown) :]
        self._window, self._known, self._shown = [], 0, ""
        return new

    def _text(self) -> str:
        return self._tokenizer.decode(self._window, skip_special_tokens=True)
