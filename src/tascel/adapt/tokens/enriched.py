"""The vocabulary while it grows: what each token of the corpus stands for, writes, and where."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

import numpy as np

from tascel.adapt.tokens import spans
from tascel.adapt.tokens.spans import Ints, Spans

#: What a base id writes.
Spell = Callable[[int], bytes]


class Enriched:
    """The tokens of a corpus. Those that are added take ids above all others of it."""

    def __init__(self, corpus: Spans, spell: Spell) -> None:
        self._corpus = corpus
        order = np.argsort(corpus.token, kind="stable").astype(np.int32)
        ids, first = np.unique(corpus.token[order], return_index=True)
        split = np.split(order, first[1:])
        self._places: dict[int, Ints] = {
            id_: places for id_, places in zip(ids.tolist(), split, strict=True) if id_ >= 0
        }
        self._next = 1 + int(ids[-1])
        self._uses = {id_: len(places) for id_, places in self._places.items()}
        self._runs: dict[int, tuple[int, ...]] = {id_: (id_,) for id_ in self._places}
        self._texts = {id_: spell(id_) for id_ in self._places}
        self._sorted = sorted((text, id_) for id_, text in self._texts.items())
        self._added: set[bytes] = set()

    def joined(self, ngram: Ints) -> tuple[tuple[int, ...], bytes]:
        """The base ids that an n-gram stands for, and its text."""
        tokens = ngram.tolist()
        run = tuple(base for token in tokens for base in self._runs[token])
        return run, b"".join(self._texts[token] for token in tokens)

    def added(self, text: bytes) -> bool:
        """Whether a token that was added has this text."""
        return text in self._added

    def merge(self, ngram: Ints, places: Ints) -> Ints:
        """Add an n-gram as a token and put it wherever it begins at `places`; returns where."""
        token, self._next = self._next, self._next + 1
        self._runs[token], self._texts[token] = self.joined(ngram)
        self._added.add(self._texts[token])
        insort(self._sorted, (self._texts[token], token))
        merged = spans.merge(self._corpus, places, ngram, token)
        self._places[token], self._uses[token] = merged, len(merged)
        for part in ngram.tolist():
            self._uses[part] -= len(merged)
        return merged

    def continued(self, ngram: Ints) -> float:
        """The share of what follows the n-gram's other tokens that begins with its last one's text
        and goes on. An output's end follows, too."""
        last = self._texts[int(ngram[-1])]
        places = self._places[int(ngram[0])]
        after = spans.followers(self._corpus, places, ngram[:-1])
        tokens, counts = np.unique(after[after >= 0], return_counts=True)
        colliding = (
            count
            for token, count in zip(tokens.tolist(), counts.tolist(), strict=True)
            if len(self._texts[token]) > len(last) and self._texts[token].startswith(last)
        )
        return sum(colliding) / len(after)

    def begun(self, text: bytes) -> float:
        """The share of the corpus's tokens whose text begins with `text`."""
        found = 0
        for at in range(bisect_left(self._sorted, (text, 0)), len(self._sorted)):
            longer, token = self._sorted[at]
            if not longer.startswith(text):
                break
            found += self._uses[token]
        return found / sum(self._uses.values())
