"""The words of a prompt as an answer may spell them.

After a quote `Paris` is another token than ` Paris` in a sentence, and a rare name may be cut
elsewhere: so what an answer copies is looked for in both spellings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from tascel.token_bytes import TokenBytes
from tascel.types import Ids

#: What a token looks like, as bits.
SPACED, FIRST, LAST, OPENS, DIGIT, UPPER = 1, 2, 4, 8, 16, 32
#: Characters besides letters and digits that a copied value may begin with.
_OPENING = "/$#@~*.-%<{+_\\"
#: Starts looked at, from the end of the prompt.
_MOST = 1024
#: Spellings kept.
_KEPT = 100_000
#: Stands before a word while it is spelled: no tokenizer joins it with what follows.
_BEFORE = "\n"
#: Bytes that are only part of a character each become a character of their own.
_PARTS = "surrogateescape"


class Spelled(NamedTuple):
    """A prompt of n tokens, and its words in their other spelling behind it.

    `token` i32[S]: the prompt, then other spellings; `follow` i32[S]: where a copy goes on, -1 at
    the end; `starts` i32[W]: where copies may begin; `where` i32[W]: at which prompt token that is;
    `after` i32[W]: and which prompt token follows the word, n at the end.
    """

    token: Ids
    follow: Ids
    starts: Ids
    where: Ids
    after: Ids


class Speller:
    """Respells words with one tokenizer. `looks` u8[V]: what each id looks like; `texts`: what it
    is written as."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        bytes_of = TokenBytes(tokenizer)
        self.texts = [bytes_of(id_).decode(errors=_PARTS) for id_ in range(size)]
        for id_, token in tokenizer.get_added_tokens_decoder().items():
            if token.special:
                self.texts[id_] = ""
        self.looks = np.array([_look(text) for text in self.texts], np.uint8)
        self._before = tokenizer.encode(_BEFORE, add_special_tokens=False).ids
        self._other: dict[bytes, list[int]] = {}

    def words(self, prompt: Ids) -> Spelled:
        """Both spellings of all words of a prompt i32[n]."""
        known = (prompt >= 0) & (prompt < len(self.looks))
        look = np.where(known, self.looks[np.where(known, prompt, 0)], 0)
        inside = np.zeros(len(prompt) + 1, bool)
        inside[1:-1] = ((look[:-1] & LAST) > 0) & ((look[1:] & (FIRST | SPACED)) == FIRST)
        where = np.flatnonzero(((look & OPENS) > 0) & ~inside[:-1])[-_MOST:]
        ends = np.flatnonzero(~inside)
        after = ends[np.searchsorted(ends, where, side="right")]
        others = self._respelled(
            [prompt[i:j] for i, j in zip(where.tolist(), after.tolist(), strict=True)]
        )
        token: list[int] = prompt.tolist()
        follow, starts = [*range(1, len(prompt)), -1][: len(prompt)], list[int]()
        for other, j in zip(others, after.tolist(), strict=True):
            starts.append(len(token))
            token += other
            follow += range(len(follow) + 1, len(follow) + len(other))
            follow.append(j if j < len(prompt) else -1)
        both = [where, np.array(starts, np.int64)]
        return Spelled(
            np.array(token, np.int32),
            np.array(follow, np.int32),
            np.concatenate(both).astype(np.int32),
            np.concatenate([where, where]).astype(np.int32),
            np.concatenate([after, after]).astype(np.int32),
        )

    def _respelled(self, words: Sequence[Ids]) -> list[list[int]]:
        """Each word with a space before it if it has none, without if it has one."""
        keys = [word.tobytes() for word in words]
        known = self._other  # of several threads: never cleared, for another may be reading it
        missing = {k: w for k, w in zip(keys, words, strict=True) if k not in known}
        if missing:
            if len(known) > _KEPT:
                known = self._other = {}
                missing = dict(zip(keys, words, strict=True))
            texts = [self._turned(word) for word in missing.values()]
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            cut = len(self._before)
            for (key, word), encoding in zip(missing.items(), encodings, strict=True):
                whole = encoding.ids[:cut] == self._before and len(encoding.ids) > cut
                known[key] = encoding.ids[cut:] if whole else word.tolist()
        return [known[key] for key in keys]

    def _turned(self, word: Ids) -> str:
        text = self._tokenizer.decode(word.tolist(), skip_special_tokens=False).strip()
        return f"{_BEFORE}{text}" if self.looks[word[0]] & SPACED else f"{_BEFORE} {text}"


def _look(text: str) -> int:
    bare = text.lstrip()
    if not bare:
        return SPACED if text else 0
    first = bare[0]
    return (
        SPACED * (text[0].isspace())
        | FIRST * _in_word(first)
        | LAST * _in_word(bare[-1])
        | OPENS * (_in_word(first) or first in _OPENING)
        | DIGIT * first.isdigit()
        | UPPER * first.isupper()
    )


def _in_word(character: str) -> bool:
    """Parts of characters are taken for letters."""
    return character.isalnum() or "\udc80" <= character <= "\udcff"
