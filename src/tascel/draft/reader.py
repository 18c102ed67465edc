"""What a draft sees in a prompt: its words in the answer's spelling, and what it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
from tokenizers import Tokenizer

from tascel.draft.features import Features, features, folding
from tascel.draft.kernels.copying import Words
from tascel.draft.slots import words_of
from tascel.speller import Speller
from tascel.types import Ids

#: Prompts that are kept as they were read: those of requests under way, so far as they are few.
KEPT = 32


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads prompts with one tokenizer."""

    tokenizer: Tokenizer

    def words(self, prompt: Ids) -> Words:
        """A prompt's words, both ways spelled."""
        return words_of(self._speller, self._fold, prompt)

    def about(self, prompt: Ids) -> Features:
        """A prompt's features."""
        return features(prompt, self._fold)

    def glance(self, prompt: Ids) -> Glance:
        """What there is to see in a request's prompt, which several drafts look at."""
        return self._glances(np.asarray(prompt, np.int32).tobytes())

    @cached_property
    def _glances(self) -> Callable[[bytes], Glance]:
        return lru_cache(maxsize=KEPT)(partial(_glance, self.words, self.about))

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.tokenizer)

    @cached_property
    def _fold(self) -> Ids:
        return folding(self._speller.texts)


class Glance:
    """One prompt, read when it is looked at."""

    def __init__(
        self, words: Callable[[Ids], Words], about: Callable[[Ids], Features], prompt: Ids
    ) -> None:
        self._words, self._about, self._prompt = words, about, prompt

    @cached_property
    def words(self) -> Words:
        """As `Reader.words`."""
        return self._words(self._prompt)

    @cached_property
    def about(self) -> Features:
        """As `Reader.about`."""
        return self._about(self._prompt)


def _glance(
    words: Callable[[Ids], Words], about: Callable[[Ids], Features], prompt: bytes
) -> Glance:
    return Glance(words, about, np.frombuffer(prompt, np.int32).copy())
