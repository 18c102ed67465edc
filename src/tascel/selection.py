"""A selection: the ids of a vocabulary that one task's answers need, and how it was judged.

The other ids have no row in a tailored head, but for those of a request's own prompt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tascel.errors import BundleError
from tascel.store.folder import map_array
from tascel.types import Ids

IDS = "selection.npy"
FACTS = "selection.json"
_KINDS = {"vocab_size": int, "tolerance": float, "misses": float, "covered": float, "traces": int}
_REBUILD = "The bundle is damaged: copy it again, or select again with `tascel tailor`"


@dataclass(frozen=True, eq=False)
class Selection:
    """What a task's answers are written with.

    Attributes:
        ids: i32[n], ascending: the static rows of a head.
        vocab_size: the tokenizer's; ids run from 0 to one less.
        tolerance: how many needed ids an answer may miss on average (VocabTailor, arXiv 2508.15229,
            the third filter).
        misses: share of held-out answers' tokens that are neither in `ids` nor in their prompt.
        covered: share of held-out answers without such a token.
        traces: how many traces were counted.

    Raises:
        ValueError: ids that are none of the vocabulary, or shares that are none.
    """

    ids: Ids
    vocab_size: int
    tolerance: float
    misses: float
    covered: float
    traces: int

    def __post_init__(self) -> None:
        ids = self.ids
        if ids.ndim != 1 or not len(ids) or ids[0] < 0 or ids[-1] >= self.vocab_size:
            raise ValueError("holds ids that are none of the vocabulary")
        if (ids[1:] <= ids[:-1]).any():
            raise ValueError("holds ids that do not ascend")
        if not (0 <= self.misses <= 1 and 0 <= self.covered <= 1):
            raise ValueError("has shares that are none")
        if not 0 <= self.tolerance < np.inf or self.traces < 0:
            raise ValueError("says impossible things of itself")


def write_selection(folder: Path, selection: Selection) -> None:
    """Two files, into a bundle's folder that is being written."""
    facts = {name: getattr(selection, name) for name in _KINDS}
    np.save(folder / IDS, selection.ids)
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_selection(folder: Path, vocab_size: int) -> Selection:
    """What `write_selection` wrote.

    Raises:
        BundleError: missing, damaged, or of another vocabulary.
    """
    ids = map_array(folder / IDS, np.int32)
    try:
        facts = _facts(json.loads((folder / FACTS).read_text(encoding="utf-8")))
        if facts["vocab_size"] != vocab_size:
            raise ValueError("is of another vocabulary")
        return Selection(np.array(ids), **facts)
    except (OSError, RecursionError) as reason:
        raise BundleError(f"{folder / FACTS}: cannot be read ({reason})", _REBUILD) from None
    except ValueError as reason:
        raise BundleError(f"{folder / FACTS}: {reason}", _REBUILD) from None


def _facts(found: Any) -> dict[str, Any]:
    """The facts as they are typed; ValueError if they are not."""
    facts = cast(dict[str, Any], found) if isinstance(found, dict) else {}
    if facts.keys() != _KINDS.keys():
        raise ValueError(f"is not an object of {', '.join(_KINDS)}")
    for name, kind in _KINDS.items():
        if type(facts[name]) not in (int, kind):
            raise ValueError(f"has a {name!r} that is no number")
    return facts
