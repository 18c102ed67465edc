"""In which scripts ids write: Latin, Cyrillic, Han and so on.

Control characters, punctuation, digits, currency and other symbols are of no script, so no filter
drops them. Nor are bytes that are no whole character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tascel.adapt.tailor.needs import Uses

#: A script that fewer answers hold is an accident of the traces, not the task's.
_SHARE = 0.01
_NONE = frozenset[str]()


def foreign(answers: Uses, spell: Callable[[int], bytes], vocab_size: int) -> NDArray[np.bool_]:
    """Which ids write letters of scripts that hardly any answer holds: bool[vocab_size].

    Of the ids that answers hold; the others are False. `spell`: the bytes of an id.
    """
    written = np.unique(answers.id)
    held = {int(id_): scripts(spell(int(id_)).decode(errors="ignore")) for id_ in written}
    documents = 1 + int(answers.document[-1])
    rare = {
        script
        for script in _NONE.union(*held.values())
        if _share(answers, [id_ for id_ in held if script in held[id_]], documents) < _SHARE
    }
    found = np.zeros(vocab_size, np.bool_)
    found[[id_ for id_ in held if held[id_] & rare]] = True
    return found


def scripts(text: str) -> frozenset[str]:
    """The scripts of a text's letters and their marks, by the first word of the characters' names,
    as `LATIN` or `CJK`."""
    return _NONE.union(*map(_script, text))


@cache
def _script(char: str) -> frozenset[str]:
    if unicodedata.category(char)[0] not in "LM":
        return _NONE
    first = unicodedata.name(char, "").split(" ")[0]
    return _NONE if first in ("", "COMBINING", "MODIFIER", "VARIATION") else frozenset([first])


def _share(answers: Uses, ids: list[int], documents: int) -> float:
    return len(np.unique(answers.document[np.isin(answers.id, ids)])) / documents
