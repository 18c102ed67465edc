"""Everything a draft remembers of one request, as the kernels take it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tascel.draft.context import Context
from tascel.draft.kernels import placing
from tascel.draft.kernels.copying import STATE, TRAITS, Words
from tascel.draft.kernels.matching import MATCHES
from tascel.draft.kernels.placing import FACTS, Sources
from tascel.draft.kernels.recalling import Recalled
from tascel.types import Ids

_start: Callable[..., None] = placing.start


class State:
    """`matches` i64[2, MATCHES, 3]: the corpus' and the templates'; the `context`; on one `desk`
    i32[n] the state of copying, the prompt's words and what was recalled; `facts` i64[FACTS]."""

    def __init__(
        self, sources: Sources, prompt: Ids, words: Words, recalled: Recalled, room: int = 256
    ) -> None:
        self.context = Context(prompt, room)
        self.matches: NDArray[np.int64] = np.empty((2, MATCHES, 3), np.int64)
        self.facts: NDArray[np.int64] = np.zeros(FACTS, np.int64)
        self.facts[placing.LENGTH] = len(prompt)
        self.facts[placing.PROMPT] = words.length
        self.facts[placing.SPELLED] = len(words.token)
        self.facts[placing.STARTS] = len(words.starts)
        self.facts[placing.RECALL] = len(recalled.text)
        self.desk: Ids = np.concatenate(
            [
                np.empty(STATE, np.int32),
                words.token, words.follow, words.starts, words.first, words.where,
                words.traits.ravel(),
                recalled.text, recalled.weight, np.zeros(len(recalled.text), np.int32),
            ],
            dtype=np.int32,
        )  # fmt: skip
        assert words.traits.shape[1:] == (TRAITS,)
        _start(sources, self.matches, self.desk, self.facts)
