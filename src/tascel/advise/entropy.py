"""How much is foreseeable in answers, and how much in prompts: entropies of their pairs of words.

Table 1 of TASC (Tsur, Adar, Levy, arXiv 2602.24174) on anybody's traces: where answers have far
lower entropy than prompts, a few phrases make up most of what is written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tascel.adapt.tokens.curve import renyi2
from tascel.types import Ids

#: A word, a sign, or a character of a script that puts no spaces between words.
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+|\d+|[^\w\s]|_")
#: Words of each side that are counted at most: a bound on time, far above what the figures need.
_WORDS = 2_000_000
#: The share of the mass that the paper counts phrases for.
_MASS = 0.8
#: Stands before the first word and behind the last.
_EDGE = ""


class Row(NamedTuple):
    """A task of the paper: entropies of prompts and of answers in bits, and how many pairs of words
    make up 80 % of each."""

    task: str
    bits_in: float
    bits_out: float
    most_in: int
    most_out: int


#: The paper's Table 1.
PAPER = (
    Row("sentiment, finance", 14.5, 2.21, 33_530, 4),
    Row("yes/no questions, medical", 15.34, 3.0, 17_010, 3),
    Row("part-of-speech tags", 15.53, 6.57, 65_300, 63),
    Row("intent and slots", 13.4, 9.74, 15_943, 774),
    Row("classification, 4,000 labels", 14.43, 12.76, 36_800, 8_340),
    Row("abbreviations, medical", 16.17, 14.19, 195_100, 84_280),
    Row("summaries, medical", 16.14, 15.39, 17_140, 15_160),
    Row("summaries, news", 17.71, 15.79, 387_700, 59_340),
    Row("summaries, legal", 16.8, 15.8, 229_900, 89_140),
    Row("questions, medical", 16.2, 15.38, 196_340, 111_600),
    Row("creative writing", 12.75, 16.62, 11_160, 168_810),
)


def entropy(
    questions: Iterable[str], answers: Iterable[str], outputs: Sequence[Ids]
) -> dict[str, Any]:
    """Entropies of pairs of words, in bits: of prompts (`bits_in`), of answers (`bits_out`), their
    relative `change`; pairs that make up 80 % of each (`most_in`, `most_out`) and their `ratio`;
    how many pairs were counted; `renyi2` of the answers' tokens; the `paper`'s rows to compare
    with, `like` the one whose answers are nearest.

    An answer of one word counts as two pairs, with its edges. All estimates grow with the sample.
    """
    asked, said = _pairs(questions), _pairs(answers)
    row = Row("yours", _bits(asked), _bits(said), _most(asked), _most(said))
    nearest = min(PAPER, key=lambda paper: abs(paper.bits_out - row.bits_out))
    return {
        **_figures(row),
        "pairs_in": asked.total(),
        "pairs_out": said.total(),
        "renyi2": renyi2(np.concatenate(outputs)),
        "like": nearest.task,
        "paper": [_figures(paper) for paper in PAPER],
    }


def words(text: str) -> list[str]:
    """The words and signs of a text."""
    return _WORD.findall(text)


def _figures(row: Row) -> dict[str, Any]:
    change = row.bits_out / row.bits_in - 1 if row.bits_in else None
    return {**row._asdict(), "change": change, "ratio": row.most_in / max(1, row.most_out)}


def _pairs(texts: Iterable[str]) -> Counter[tuple[str, str]]:
    counted, read = Counter[tuple[str, str]](), 0
    for text in texts:
        found = words(text)
        counted.update(pairwise([_EDGE, *found, _EDGE]))
        read += len(found)
        if read > _WORDS:
            break
    return counted


def _bits(counted: Counter[tuple[str, str]]) -> float:
    """Shannon entropy in bits."""
    share = np.array([*counted.values()], np.float64) / counted.total()
    return float(-(share * np.log2(share)).sum()) + 0.0  # no negative zero


def _most(counted: Counter[tuple[str, str]]) -> int:
    """How many of the most frequent pairs make up `_MASS` of all."""
    sizes = np.array(sorted(counted.values(), reverse=True), np.int64).cumsum()
    return 1 + int(np.searchsorted(sizes, _MASS * counted.total()))
