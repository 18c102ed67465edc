"""What a draft sees in a prompt: its words in the answer's spelling, and what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tokenizers import Tokenizer

from tascel.draft.features import Features, features, folding
from tascel.draft.kernels.copying import Words
from tascel.draft.slots import words_of
from tascel.speller import Speller
from tascel.types import Ids


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

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.tokenizer)

    @cached_property
    def _fold(self) -> Ids:
        return folding(self._speller.texts)
