"""Whether a GGUF writes the ids that a bundle was learned from. llama.cpp itself does not ask: a
draft of another tokenizer's ids would be nonsense, refused token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tascel.bundle import Bundle
from tascel.errors import BundleError, ModelError
from tascel.plugins.llamacpp.header import read_header

_TOKENS = "tokenizer.ggml.tokens"


def vocabulary_of(gguf: str | Path) -> list[str | bytes]:
    """What a GGUF's ids are called, from id 0 on; bytes where that is no UTF-8.

    Raises:
        ModelError: it cannot be read, or has no vocabulary.
    """
    tokens: Any = read_header(gguf).get(_TOKENS)
    if not isinstance(tokens, list) or not tokens:
        raise ModelError(f"{gguf}: has no vocabulary", "Convert the model with its tokenizer")
    return tokens  # pyright: ignore[reportUnknownVariableType]


def check(bundle: Bundle, gguf: str | Path) -> None:
    """See that all ids of the bundle's tokenizer are called the same in a GGUF, which may have
    more.

    Raises:
        BundleError: they are not, or the bundle's tokenizer is damaged.
        ModelError: the GGUF cannot be read.
    """
    theirs = vocabulary_of(gguf)
    ours = bundle.reader.tokenizer.get_vocab(with_added_tokens=True)
    for token, id_ in sorted(ours.items(), key=lambda entry: entry[1]):
        other = theirs[id_] if id_ < len(theirs) else None
        if other is None or _plain(other) != _plain(token):
            called = f"{other!r} in {gguf}" if other is not None else f"unknown to {gguf}"
            raise BundleError(
                f"{bundle.path}: id {id_} is {token!r} in its vocabulary of "
                f"{bundle.manifest.vocab_size} and {called}, which has {len(theirs)}",
                f"Use the GGUF of {bundle.manifest.model}, or build a bundle for this model",
            )


def _plain(token: str | bytes) -> str | bytes:
    """Converters write a piece's space as a space, where the token is an added one."""
    return token.replace("▁", " ") if isinstance(token, str) else token
