"""Bytes of single tokens: joined they are the text, whatever the tokenizer's spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tascel.serve.replies import TextLogprobs
from tascel.serve.tokens import chat_logprobs, text, text_logprobs
from tascel.token_bytes import TokenBytes
from tascel.types import Chunk, Logprobs


@given(words=st.text())
def test_byte_level(words, tokenizer):
    backend = tokenizer.backend_tokenizer
    bytes_of = TokenBytes(backend)
    ids = backend.encode(words, add_special_tokens=False).ids
    assert b"".join(map(bytes_of, ids)) == words.encode()


@given(words=st.text(alphabet="ab é🙂"))
def test_bytes_as_a_fallback(words):
    pieces = ["a", "b", "ab", "▁", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))]
    merges = [("a", "b"), ("▁", "a")]
    vocab = {piece: at for at, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    bytes_of = TokenBytes(backend)
    assert b"".join(map(bytes_of, backend.encode(words).ids)) == words.encode()


def test_special_and_missing_ids(tokenizer):
    bytes_of = TokenBytes(tokenizer.backend_tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert bytes_of(end) == b"<|im_end|>"
    assert bytes_of(10**6) == b""


@pytest.mark.parametrize(
    ("token", "shown"), [(b" a", " a"), ("é".encode(), "é"), (b"\xc3", "bytes:\\xc3"), (b"", "")]
)
def test_half_characters_are_shown_as_bytes(token, shown):
    assert text(token) == shown


def test_ends_have_no_entry_and_infinities_a_number(tokenizer):
    bytes_of = TokenBytes(tokenizer.backend_tokenizer)
    a, end = tokenizer.convert_tokens_to_ids(["a", "<|im_end|>"])
    least = Logprobs(-1.0, ((a, -1.0), (end, float("-inf"))))
    chunks = [Chunk(a, "a", "model", 0, least), Chunk(end, "", "model", 1, least)]
    (entry,) = chat_logprobs(chunks, bytes_of, {end}).content
    assert [top.logprob for top in entry.top_logprobs] == [-1.0, -9999.0]
    assert text_logprobs(chunks, bytes_of, {end}, 7) == TextLogprobs(
        tokens=["a"],
        token_logprobs=[-1.0],
        top_logprobs=[{"a": -1.0, "<|im_end|>": -9999.0}],
        text_offset=[7],
    )
