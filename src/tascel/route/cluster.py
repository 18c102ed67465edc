"""Finding tasks in traces that nobody labelled, and naming them.

Prompts and outputs together say what a trace is about: k-means finds the finest clusters, and
merging the nearest two again and again gives one partition for every smaller number. Which of
them is best, whoever drafts with them has to say.
"""

# pyright: basic

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tascel.draft.features import Features
from tascel.route.vectors import matrix, vocabulary
from tascel.types import Ids

#: Numbers of clusters to choose from, at most: the last is where merging starts.
COUNTS = (1, 2, 3, 5, 7, 10, 14, 21)
#: Traces that the clusters are found in; the others join the nearest.
_SAMPLE = 20_000
_DIMENSIONS = 32
_BATCH = 5_000  # traces that join at once
#: Traces of a cluster that are read for its name, and phrases in the name.
_READ, _PHRASES = 300, 3
#: So many traces must say a phrase, so that no single one can be read off.
LEAST_TRACES = 5
_WORD = re.compile(r"\b[^\W\d]\w{1,30}\b")


def partitions(prompts: Sequence[Features], outputs: Sequence[Features]) -> dict[int, Ids]:
    """Ways to part traces into tasks, by the number of clusters, as far as there are so many:
    i32[n] each, numbered from 0 by size, the largest first. Finer ones refine coarser ones.

    Args:
        prompts: the features of every trace's prompt.
        outputs: those of its output.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    some = np.sort(np.random.default_rng(0).permutation(len(prompts))[:_SAMPLE])
    space = _Space([prompts[i] for i in some], [outputs[i] for i in some])
    found: Any = KMeans(min(COUNTS[-1], len(some)), n_init=5, random_state=0)  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():  # fewer traces that differ than clusters: those are enough
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(space.points)
    chunks = [slice(i, i + _BATCH) for i in range(0, len(prompts), _BATCH)]
    near = [found.predict(space.of(prompts[some], outputs[some])) for some in chunks]
    kinds, finest = np.unique(np.concatenate(near), return_inverse=True)
    ways = _merged(found.cluster_centers_[kinds], np.bincount(finest))
    wanted = (*COUNTS, len(kinds))
    return {len(set(w)): _by_size(np.array(w)[finest]) for w in ways if len(set(w)) in wanted}


def names(labels: Ids, texts: Callable[[int], str]) -> list[str]:
    """A short name for each cluster, no two alike: the words and pairs of words that most of its
    traces have and fewest of any other cluster. Each stands in at least `LEAST_TRACES` that differ.

    Args:
        labels: the cluster of each trace, i32[n], from 0.
        texts: what trace i says, prompt and output; asked for a sample only.
    """
    rng = np.random.default_rng(0)
    shares: list[Counter[str]] = []
    for cluster in range(labels.max() + 1):
        some = rng.permutation(np.flatnonzero(labels == cluster))[:_READ].tolist()
        read = {texts(i) for i in some}
        said = Counter(phrase for text in read for phrase in _phrases(text))
        shares.append(
            Counter({phrase: n / len(read) for phrase, n in said.items() if n >= LEAST_TRACES})
        )
    given: list[str] = []
    for share in shares:
        name = _name(share, [other for other in shares if other is not share])
        given.append(name if name not in given else f"{name} ({len(given) + 1})")
    return given


class _Space:
    """Where traces are points, f64[n, d]: TF-IDF of prompts beside that of outputs, reduced by a
    singular value decomposition to directions (latent semantic analysis)."""

    def __init__(self, prompts: Sequence[Features], outputs: Sequence[Features]) -> None:
        from sklearn.utils.extmath import randomized_svd

        self.words = vocabulary(prompts), vocabulary(outputs)
        rows = self._rows(prompts, outputs)
        self.onto = np.zeros((rows.shape[1], 1), np.float32)
        if min(rows.shape):
            self.onto = randomized_svd(rows, _DIMENSIONS, random_state=0)[2].T
        self.points = _directions(rows @ self.onto)

    def of(self, prompts: Sequence[Features], outputs: Sequence[Features]) -> Any:
        return _directions(self._rows(prompts, outputs) @ self.onto)

    def _rows(self, prompts: Sequence[Features], outputs: Sequence[Features]) -> Any:
        from scipy.sparse import hstack

        both = zip((prompts, outputs), self.words, strict=True)
        return hstack([matrix(rows, *words) for rows, words in both], format="csr")


def _directions(points: Any) -> Any:
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)


def _merged(centres: Any, sizes: Any) -> list[list[int]]:
    """For each number of clusters, from all to one, which of them every finest cluster is in.

    The two merged are those whose points then lie least far from their new centre (Ward 1963).
    """
    centres, sizes = centres.copy(), sizes.astype(float)
    way = list(range(len(sizes)))
    ways = [way]
    while len(left := sorted(set(way))) > 1:
        pairs = [(a, b) for a in left for b in left if a < b]

        def loss(pair: tuple[int, int]) -> float:
            a, b = pair
            apart = float(((centres[a] - centres[b]) ** 2).sum())
            return sizes[a] * sizes[b] / (sizes[a] + sizes[b]) * apart

        a, b = min(pairs, key=loss)
        centres[a] = (centres[a] * sizes[a] + centres[b] * sizes[b]) / (sizes[a] + sizes[b])
        sizes[a] += sizes[b]
        way = [a if cluster == b else cluster for cluster in way]
        ways.append(way)
    return ways


def _by_size(labels: Any) -> Ids:
    """The labels renumbered, the largest cluster first, of equals the one met first."""
    kinds, first, dense, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(kinds), np.int32)
    rank[np.lexsort((first, -sizes))] = np.arange(len(kinds))
    return rank[dense]


def _phrases(text: str) -> set[str]:
    lines = [_WORD.findall(line) for line in text.splitlines()]
    pairs = {f"{a} {b}" for words in lines for a, b in pairwise(words)}
    return pairs.union(*lines)


def _name(share: Counter[str], others: Sequence[Counter[str]]) -> str:
    telling = {p: s - max((other[p] for other in others), default=0) for p, s in share.items()}
    picked: list[str] = []
    said: set[str] = set()
    for phrase in sorted(telling, key=lambda p: (-telling[p], -len(p), p)):
        words = set(phrase.casefold().split())
        if len(picked) < _PHRASES and not words & said:
            picked.append(phrase)
            said |= words
    return ", ".join(picked) or "nothing"
