"""What a prompt is about, as a set of numbers: its words and pairs of words, whatever their case.

Shared by the search for similar prompts and by the classifier of tasks.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import kernel
from tascel.types import Ids

Features = NDArray[np.uint32]


def folding(texts: Iterable[str]) -> Ids:
    """Which ids say the same but for case and spaces: i32[V].

    `texts` holds what each id is written as; the first id of its kind stands for all of them, -1
    for ids that write nothing but spaces.
    """
    first: dict[str, int] = {"": -1}
    kinds = (text.strip().casefold() for text in texts)
    return np.array([first.setdefault(kind, id_) for id_, kind in enumerate(kinds)], np.int32)


def features(prompt: Ids, fold: Ids) -> Features:
    """The distinct features of a prompt, sorted: u32[m] hashes of single ids and of neighbouring
    pairs, after `fold`."""
    return np.unique(_hashes(prompt, fold))


@kernel
def _hashes(prompt: Any, fold: Any) -> Any:
    out = np.empty(2 * len(prompt), np.uint32)
    found = 0
    before = np.int64(-1)
    for id_ in prompt:
        here = np.int64(fold[id_]) if 0 <= id_ < len(fold) else np.int64(id_)
        if here < 0:
            continue
        out[found] = _scramble(here + 1)
        found += 1
        if before >= 0:
            out[found] = _scramble((before + 1) * 1_000_003 + here + 1)
            found += 1
        before = here
    return out[:found]


@kernel
def _scramble(x: Any) -> Any:
    """32 well mixed bits of a number (the finaliser of splitmix64, Steele et al. 2014)."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint32((x ^ (x >> np.uint64(31))) & np.uint64(0xFFFFFFFF))
