"""Log-probabilities in OpenAI's two shapes, with single tokens as text and bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tascel.serve.replies import ChatLogprobs, TextLogprobs, TokenLogprob, TopLogprob
from tascel.token_bytes import TokenBytes
from tascel.types import Chunk

#: What OpenAI writes for a probability of nothing; JSON has no infinity.
_LEAST = -9999.0


def text(token: bytes) -> str:
    """A token as text; one that is only part of a character as its bytes, as OpenAI does."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def chat_logprobs(
    chunks: Sequence[Chunk], bytes_of: TokenBytes, eos_ids: Collection[int]
) -> ChatLogprobs:
    """The entries of a chat answer, or of a piece of one."""
    entries: list[TokenLogprob] = []
    for chunk in chunks:
        if chunk.logprobs is None or chunk.token in eos_ids:
            continue
        one = _entry(bytes_of(chunk.token), chunk.logprobs.token)
        top = [_entry(bytes_of(id_), logprob) for id_, logprob in chunk.logprobs.top]
        entries.append(
            TokenLogprob(token=one.token, logprob=one.logprob, bytes=one.bytes, top_logprobs=top)
        )
    return ChatLogprobs(content=entries)


def text_logprobs(
    chunks: Sequence[Chunk], bytes_of: TokenBytes, eos_ids: Collection[int], offset: int
) -> TextLogprobs:
    """The columns of a text completion. `offset` is how many characters came before; a token's
    own is how much text was certain when it was written."""
    columns = TextLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    for chunk in chunks:
        if chunk.logprobs is not None and chunk.token not in eos_ids:
            columns.tokens.append(text(bytes_of(chunk.token)))
            columns.token_logprobs.append(max(chunk.logprobs.token, _LEAST))
            top = {text(bytes_of(id_)): max(value, _LEAST) for id_, value in chunk.logprobs.top}
            columns.top_logprobs.append(top)
            columns.text_offset.append(offset)
        offset += len(chunk.text)
    return columns


def _entry(token: bytes, logprob: float) -> TopLogprob:
    return TopLogprob(token=text(token), logprob=max(logprob, _LEAST), bytes=list(token))
