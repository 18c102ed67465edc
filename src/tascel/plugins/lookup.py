"""A bundle's answers as the n-gram caches that llama.cpp's server reads (`-lcs`, `-lcd`).

The static cache counts what followed two tokens, the dynamic one what followed one to four.
llama.cpp drafts what followed most often, by fixed bounds of its own; it knows nothing of trust,
neighbours or slots, and does not look whether a file is of its model's tokenizer.

A file is i32 in the machine's own order and has no header: for each n-gram its four ids, -1 behind
those that it has, the number of ids that followed, and each of these with its count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tascel.bundle import Bundle
from tascel.draft.corpus import Corpus
from tascel.draft.kernels.matching import SEPARATOR
from tascel.store.file import whole_file
from tascel.types import Ids

#: Tokens of an n-gram at most, and of the static cache's n-grams.
_LONGEST, _STATIC = 4, 2
#: llama.cpp drafts from a dynamic n-gram of 1, 2, 3, 4 tokens that was seen so often, by what
#: followed in so many of a hundred times; any other one is of no use to it.
_SEEN, _SHARE = (4, 3, 2, 2), (75, 66, 66, 66)
#: It multiplies 100 and two counts as i32, and does not look whether that fits.
_MOST = 4096
#: Suffixes that are looked at together.
_BLOCK = 1 << 18

_Rows = NDArray[np.int32]
_Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Caches:
    """Two files that were written, the `answers` that they count, and their n-grams."""

    static: Path
    dynamic: Path
    answers: int
    ngrams: tuple[int, int]


def export(bundle: Bundle, folder: Path) -> list[Caches]:
    """Write `static.bin` and `dynamic.bin` of all answers to `folder`, and those of each task to a
    folder of its own in it. Each file is written whole or not at all.

    Each answer is counted behind what all prompts end with, so that its start is drafted, too.

    Raises:
        BundleError: the bundle's tokenizer is damaged.
        TascelError: `folder` cannot be written to.
    """
    outputs = {folder: bundle.corpus.outputs()}
    for at, task in enumerate(bundle.tasks):
        name = re.sub(r"[^\w.-]+", "-", task.name)
        own = task.learned.knowledge.corpus.outputs()
        outputs[folder / f"task-{at:03}-{name}"] = own
    lead = bundle.codec.generation_prompt()[-_LONGEST:]
    return [_write(some, lead, where) for where, some in outputs.items()]


def _write(outputs: Sequence[Ids], lead: Ids, folder: Path) -> Caches:
    corpus = Corpus.of([np.concatenate([lead, output]) for output in outputs])
    static, dynamic = folder / "static.bin", folder / "dynamic.bin"
    one = _save(static, (part for part in _counted(corpus, len(lead), _STATIC)))
    sizes = range(1, _LONGEST + 1)
    two = _save(dynamic, (_drafted(p) for n in sizes for p in _counted(corpus, len(lead), n)))
    return Caches(static, dynamic, len(outputs), (one, two))


@dataclass(frozen=True, slots=True)
class _Part:
    """Some n-grams, whole: `rows` i32[k, n + 1] are n-grams with what followed, sorted and
    distinct, `counts` i64[k] how often; `starts` i64[m] where each n-gram begins."""

    rows: _Rows
    counts: _Counts
    starts: _Counts

    @staticmethod
    def of(rows: _Rows, counts: _Counts) -> _Part:
        return _Part(rows, counts, np.flatnonzero(_differ(rows[:, :-1])))

    def lengths(self) -> _Counts:
        """How many ids followed each n-gram."""
        return np.diff(self.starts, append=len(self.rows))


def _counted(corpus: Corpus, lead: int, n: int) -> Iterator[_Part]:
    """All n-grams of `n` tokens, by what of an answer followed them. Suffixes are sorted, so equal
    ones are neighbours: no more than a block of them is in memory."""
    text, array = corpus.text, corpus.array
    answer = _of_answers(text, lead)
    rows, counts = np.empty((0, n + 1), np.int32), np.empty(0, np.int64)
    for start in range(0, len(array), _BLOCK):
        places = array[start : start + _BLOCK].astype(np.int64)
        places = places[places + n < len(text)]
        places = places[answer[places + n]]
        found = text[places[:, None] + np.arange(n + 1)]
        found = found[(found != SEPARATOR).all(axis=1)]
        rows, counts = _merged(
            np.concatenate([rows, found]), np.concatenate([counts, np.ones(len(found), np.int64)])
        )
        part = _Part.of(rows, counts)
        if len(part.starts) > 1:  # the last one may go on
            last = part.starts[-1]
            yield _Part(rows[:last], counts[:last], part.starts[:-1])
            rows, counts = rows[last:], counts[last:]
    if len(rows):
        yield _Part.of(rows, counts)


def _of_answers(text: Ids, lead: int) -> NDArray[np.bool_]:
    """Which tokens are no separators and not of what leads every answer."""
    separators = np.flatnonzero(text == SEPARATOR)
    answer = np.ones(len(text), np.bool_)
    for ahead in range(lead + 1):
        answer[separators + ahead] = False
    return answer


def _merged(rows: _Rows, counts: _Counts) -> tuple[_Rows, _Counts]:
    """Equal neighbours as one."""
    if not len(rows):
        return rows, counts
    firsts = np.flatnonzero(_differ(rows))
    return rows[firsts], np.add.reduceat(counts, firsts)


def _differ(rows: _Rows) -> NDArray[np.bool_]:
    """Which rows are not as the one before them."""
    differ = np.ones(len(rows), np.bool_)
    differ[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return differ


def _drafted(part: _Part) -> _Part:
    """The n-grams that llama.cpp would draft from."""
    n = int(part.rows.shape[1]) - 1
    seen: _Counts = np.add.reduceat(part.counts, part.starts)
    most: _Counts = np.maximum.reduceat(part.counts, part.starts)
    enough = (seen >= _SEEN[n - 1]) & (100 * most >= _SHARE[n - 1] * seen)
    kept: NDArray[np.bool_] = np.repeat(enough, part.lengths())
    return _Part.of(part.rows[kept], part.counts[kept])


def _save(file: Path, parts: Iterable[_Part]) -> int:
    """Write n-grams as llama.cpp reads them; returns how many."""
    written = 0
    with whole_file(file) as text:
        for part in parts:
            text.buffer.write(_packed(part).data)
            written += len(part.starts)
    return written


def _packed(part: _Part) -> _Rows:
    """i32[5 m + 2 k]: `m` n-grams, with `k` ids that followed."""
    lengths = part.lengths()
    at = 5 * np.arange(len(lengths)) + 2 * part.starts  # where each n-gram begins
    packed = np.full(5 * len(lengths) + 2 * len(part.rows), -1, np.int32)
    for i in range(part.rows.shape[1] - 1):
        packed[at + i] = part.rows[part.starts, i]
    packed[at + 4] = lengths
    pairs = 5 * np.repeat(np.arange(1, len(lengths) + 1), lengths) + 2 * np.arange(len(part.rows))
    packed[pairs] = part.rows[:, -1]
    most = np.repeat(np.maximum.reduceat(part.counts, part.starts), lengths) if len(at) else 1
    packed[pairs + 1] = np.maximum(1, part.counts * _MOST // np.maximum(most, _MOST))
    return packed
