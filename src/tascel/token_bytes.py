"""What each id of a vocabulary writes, as bytes: one alone may be only part of a character."""

from __future__ import annotations

import re

from tokenizers import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenBytes:
    """The bytes of each id of a vocabulary; those of an answer's ids, joined, are its text.

    Attributes:
        byte_level: entries spell bytes, each as one printable character.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.byte_level = "ByteLevel" in repr(tokenizer.decoder)
        self._added = frozenset(tokenizer.get_added_tokens_decoder())

    def __call__(self, token: int) -> bytes:
        """The bytes of an id; none for one that is not in the vocabulary."""
        spelled = self._tokenizer.id_to_token(token) or ""
        if token in self._added:
            return spelled.encode()
        if self.byte_level:
            return bytes(_BYTES[char] for char in spelled if char in _BYTES)
        if fallback := _BYTE.fullmatch(spelled):
            return bytes.fromhex(fallback[1])
        return spelled.replace("▁", " ").encode()

    def singles(self) -> frozenset[int]:
        """The ids that stand for one byte each, out of which any text can be put together."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        alone = _BYTES.keys().__contains__ if self.byte_level else _BYTE.fullmatch
        return frozenset(id_ for piece, id_ in vocabulary.items() if alone(piece)) - self._added


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling: printable bytes stand for themselves, the others for U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + at): byte for at, byte in enumerate(others)
    }


_BYTES = _byte_alphabet()
