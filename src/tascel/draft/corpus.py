"""The task's past outputs as one array of ids and its suffix array: 8 bytes a token, mapped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tascel.draft.kernels.matching import MATCHES, SEPARATOR, Index, advance
from tascel.draft.suffix_array import Ints, suffix_array
from tascel.types import Ids


@dataclass(frozen=True, eq=False)
class Corpus:
    """One immutable segment.

    `text` i32[n]: every output led by the separator -1 and closed by an end id. `array` i32[n]: its
    suffix array. Neither is trusted: the kernels check what they read.
    """

    text: Ids
    array: Ints

    @staticmethod
    def of(outputs: Iterable[Ids]) -> Corpus:
        """Index `outputs` (ids with their closing id)."""
        separator = np.array([SEPARATOR], np.int32)
        parts = [part for output in outputs for part in (separator, output)]
        text = np.concatenate(parts) if parts else np.empty(0, np.int32)
        return Corpus(text, suffix_array(text))

    @cached_property
    def index(self) -> Index:
        """As the kernels take it: read-only like a mapped file, so that they compile once."""
        views = self.text.view(), self.array.view()
        for view in views:
            view.flags.writeable = False
        return Index.of(*views)

    def outputs(self) -> list[Ids]:
        """What was indexed, but for outputs of no token."""
        parts = np.split(self.text, np.flatnonzero(self.text == SEPARATOR))
        return [part[1:] for part in parts if len(part) > 1]

    def __len__(self) -> int:
        return len(self.text)

    def holds(self, output: Ids) -> bool:
        """Whether this very output, from its start to its closing id, has been seen."""
        whole = [SEPARATOR, *output.tolist()]
        matches, spare = np.empty((2, MATCHES, 3), np.int64)
        count = 0
        for token in whole:
            count = advance(self.index, matches, count, np.int32(token), spare)
            matches, spare = spare, matches
        return count > 0 and int(matches[0, 0]) == len(whole)
