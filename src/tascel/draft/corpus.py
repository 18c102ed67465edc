"""The task's past outputs as one array of ids and its suffix array: 8 bytes a token, mapped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tascel.draft.kernels import SEPARATOR
from tascel.draft.suffix_array import Ints, suffix_array
from tascel.types import Ids


@dataclass(frozen=True, slots=True, eq=False)
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

    def __len__(self) -> int:
        return len(self.text)
