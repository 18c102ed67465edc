"""A reader of prompts that needs no tokenizer."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.draft.features import Features
from tascel.draft.kernels.copying import TRAITS, Words
from tascel.draft.reader import Glance
from tascel.types import Ids


class ToyReader:
    """Finds words at random, but always the same in a prompt. Other spellings have the prompt's
    own ids, so that copies are ambiguous."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def words(self, prompt: Ids) -> Words:
        rng = np.random.default_rng([self.seed, *(prompt & 0xFFFF)])
        n = len(prompt)
        where = np.flatnonzero(rng.random(n) < 0.4).astype(np.int32)
        token, follow = prompt.tolist(), [*range(1, n), -1][:n]
        others = []
        for at in where.tolist():
            after = int(rng.integers(at + 1, n + 1))
            spelling = rng.choice(prompt, rng.integers(1, 4)).tolist()
            others.append(len(token))
            follow += [*range(len(token) + 1, len(token) + len(spelling))]
            follow.append(after if after < n else -1)
            token += spelling
        starts = np.concatenate([where, np.array(others, np.int32)])
        traits = rng.integers(0, 4, (len(starts), TRAITS)).astype(np.int32)
        ids = np.array(token, np.int32), np.array(follow, np.int32)
        return Words(*ids, starts, ids[0][starts], np.concatenate([where, where]), traits, n)

    def about(self, prompt: Ids) -> Features:
        return np.unique(prompt).astype(np.uint32)

    def glance(self, prompt: Ids) -> Glance:
        return Glance(self.words, self.about, prompt)


@pytest.fixture(scope="session")
def toy_reader() -> type[ToyReader]:
    return ToyReader
