"""Which task a prompt belongs to, how sure that is, and whether it belongs to any.

A linear model: one-against-rest support vectors over the prompt's features and, where the caller
has one, its embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.draft.features import Features
from tascel.route.vectors import Floats, matrix, positions, separated, vocabulary
from tascel.types import Ids

#: Prompts that training looks at.
_SAMPLE = 30_000
#: Share of held-out prompts of known tasks that `unknown` may be said of.
_REFUSED = 0.03
#: How much a prompt's share of features seen in its task adds to that task's score. Best of
#: 0, 1, 2 and 4 over twenty mixtures of two to 150 tasks with prompts of others among them.
_SEEN = 2.0


#: A prompt is served as one of a task that is at least so likely.
SURE = 0.8


class Guess(NamedTuple):
    """The likeliest task, the probability that it is this one of all known, and whether the prompt
    is unlike any of them."""

    task: int
    confidence: float
    unknown: bool

    @property
    def sure(self) -> bool:
        """Whether to serve the prompt as one of this task. Another task's draft costs far more than
        its own gains over one for all, so a likely task is not enough."""
        return not self.unknown and self.confidence >= SURE


class _Scores(NamedTuple):
    tasks: Floats
    familiarity: float


@dataclass(frozen=True, eq=False)
class Classifier:
    """A classifier of prompts into K tasks, nothing but arrays. Make one with `fit`.

    Attributes:
        known: the features it knows, u32[V], sorted.
        rarity: how much each of them weighs, and last one that it does not know, f32[V + 1].
        weights: what each known feature says for each task, f16[V, K].
        dense: the same of each number of an embedding, f32[E, K]; E is 0 without an embedder.
        bias: f32[K].
        calibration: f32[2]: what scores are multiplied with before the softmax, and the
            familiarity below which a prompt is unknown.

    Raises:
        ValueError: the arrays do not fit together.
    """

    known: Features
    rarity: Floats
    weights: NDArray[np.float16]
    dense: Floats
    bias: Floats
    calibration: Floats

    def __post_init__(self) -> None:
        size, tasks = len(self.known), len(self.bias)
        shapes = [getattr(self, name).shape for name in self.__dataclass_fields__]
        fitting = [(size,), (size + 1,), (size, tasks), (len(self.dense), tasks), (tasks,), (2,)]
        if shapes != fitting or not tasks:
            raise ValueError(f"arrays of shapes {shapes} are no classifier")

    @staticmethod
    def fit(
        features: Sequence[Features],
        labels: Ids,
        folds: Ids,
        embeddings: Floats | None = None,
        tasks: int = 0,
    ) -> Classifier:
        """Learn tasks from prompts.

        Args:
            features: of every prompt.
            labels: its task, i32[n], from 0.
            folds: i32[n]: confidence and the threshold for `unknown` are learned on prompts that a
                model without their fold has scored, if there are two folds or more.
            embeddings: f32[n, E] unit rows; then every prompt classified must bring one.
            tasks: how many there are, if `labels` may lack the last. One without a prompt is never
                named.
        """
        some = np.sort(np.random.default_rng(0).permutation(len(labels))[:_SAMPLE])
        rows = [features[i] for i in map(int, some)]
        label, fold = labels[some], folds[some]
        dense = np.zeros((len(some), 0), np.float32) if embeddings is None else embeddings[some]
        tasks = max(tasks, int(labels.max()) + 1)
        scores = np.empty((len(some), tasks), np.float32)
        familiarity = np.empty(len(some), np.float32)
        for held in np.unique(fold):
            rest = np.flatnonzero(fold != held)
            rest = rest if len(rest) else np.arange(len(some))
            part = _trained([rows[i] for i in map(int, rest)], label[rest], dense[rest], tasks)
            for i in map(int, np.flatnonzero(fold == held)):
                scores[i], familiarity[i] = part._scores(rows[i], dense[i])
        found = (_slope(scores, label), np.quantile(familiarity, _REFUSED))
        whole = _trained(rows, label, dense, tasks)
        return replace(whole, calibration=np.array(found, np.float32))

    def classify(self, features: Features, embedding: Floats | None = None) -> Guess:
        """The task of a prompt, from its distinct features and its embedding, f32[E]."""
        scores, familiarity = self._scores(features, embedding)
        chances = self._softmax(scores)
        best = int(chances.argmax())
        return Guess(best, float(chances[best]), bool(familiarity < self.calibration[1]))

    def probabilities(self, features: Features, embedding: Floats | None = None) -> Floats:
        """How likely each task is, given that it is one of them: f32[K], sums to 1."""
        return self._softmax(self._scores(features, embedding).tasks)

    def familiarity(self, features: Features, embedding: Floats | None = None) -> float:
        """How much a prompt looks like those learned from: higher is more, `unknown` is low."""
        return self._scores(features, embedding).familiarity

    def _scores(self, features: Features, embedding: Floats | None) -> _Scores:
        at = positions(features, self.known)
        rarity = self.rarity[at]
        length = float(rarity @ rarity)
        weights = self.weights[at].astype(np.float32)
        scores = self.bias + rarity @ weights / max(length, 1e-9) ** 0.5
        if len(self.dense):
            if embedding is None:
                raise ValueError("this classifier was learned with embeddings")
            scores = scores + embedding @ self.dense
        best = int(scores.argmax())
        seen = rarity[weights[:, best] > 0]
        whole = length + float(len(features) - len(at)) * float(self.rarity[-1]) ** 2
        return _Scores(scores, float(scores[best] + _SEEN * (seen @ seen) / max(whole, 1e-9)))

    def _softmax(self, scores: Floats) -> Floats:
        chances = np.exp(self.calibration[0] * (scores - scores.max()))
        return chances / chances.sum()


def _trained(rows: Sequence[Features], label: Ids, dense: Floats, tasks: int) -> Classifier:
    """A classifier that is not calibrated yet. Tasks that are not in `label` are never named."""
    known, rarity = vocabulary(rows)
    seen, weights, bias = separated(matrix(rows, known, rarity), label, dense)
    size = len(known)
    all_weights = np.zeros((size + dense.shape[1], tasks), np.float32)
    all_bias = np.full(tasks, -1, np.float32)
    all_weights[:, seen], all_bias[seen] = weights, bias
    sparse, dense = all_weights[:size].astype(np.float16), all_weights[size:]
    return Classifier(known, rarity, sparse, dense, all_bias, np.array([1, 0], np.float32))


def _slope(scores: Floats, label: Ids) -> float:
    """What to multiply scores with so that their softmax is likeliest (temperature scaling: Guo et
    al., "On calibration of modern neural networks", 2017)."""
    right = np.arange(len(label)), label
    scores = scores - scores.max(axis=1, keepdims=True)

    def surprise(slope: float) -> float:
        scaled = slope * scores
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[right]).mean())

    return min(np.geomspace(0.5, 50, 101).tolist(), key=surprise)
