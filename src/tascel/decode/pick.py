"""The one rule that picks every token, drafted or not. Knows logits and ids, no model, no draft."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.decode.engine import Verdict, not_numbers
from tascel.errors import ModelError
from tascel.types import Constraint, Ids, Request, Sampling

Scores = NDArray[np.float64]


class Picker:
    """Picks one request's tokens: argmax(processed logits + Gumbel noise).

    The noise depends only on seed, position and token id, so the pick is an exact sample of the
    model's distribution (the Gumbel-max trick) and the same whatever was drafted. Greedy is the
    same rule without noise.
    """

    def __init__(self, request: Request, constraint: Constraint | None = None) -> None:
        self._plain = request.plain_greedy
        self._sampling = sampling = request.sampling
        self._constraint = constraint
        self._processors = request.processors() if request.processors is not None else ()
        self._prompt = request.prompt
        self._prompt_ids = np.unique(request.prompt) if sampling.penalised else request.prompt
        self._seed = secrets.randbits(63) if sampling.seed is None else sampling.seed

    def pick(self, verdict: Verdict, node: int, history: Sequence[int]) -> int:
        """The id that follows `node`; `history` is the output so far, up to and with `node`.

        Every id that is picked must be written, and the next pick be the one behind it: processors
        and the grammar move along.

        Raises:
            ModelError: the logits are not numbers, or processors and grammar leave no id.
        """
        token = self._pick(verdict, node, history)
        if self._constraint is not None:
            self._constraint.accept(token)
        return token

    @property
    def stateless(self) -> bool:
        """Whether no grammar and no processors move along with picks."""
        return self._constraint is None and not self._processors

    def guess(self, verdict: Verdict, node: int, history: Sequence[int]) -> int:
        """What `pick` would take, which must be `stateless`. Raises as it does."""
        return self._pick(verdict, node, history)

    def scores(
        self, logits: NDArray[np.float32], history: Sequence[int]
    ) -> tuple[NDArray[np.intp], Scores]:
        """What `pick` takes the highest of: ids that may be picked, ascending, and their scores.

        Writes into `logits`. Raises as `pick` does.
        """
        sampling = self._sampling
        if np.isnan(logits.max()):
            raise not_numbers()
        if sampling.penalised:
            penalise(logits, sampling, self._prompt_ids, history)
        if self._processors:
            ids = np.concatenate([self._prompt, np.asarray(history, np.int32)])
            for process in self._processors:
                logits = process(ids, logits)
        if self._constraint is not None:
            self._constraint.mask(logits)
        if logits.max() == -np.inf:
            raise ModelError(
                "no token may come next: logits processors or the grammar refuse every one",
                "Loosen them",
            )
        if sampling.temperature == 0:
            return np.arange(len(logits)), logits.astype(np.float64)
        ids, scores = survivors(logits, sampling)
        return ids, scores + gumbel(self._seed, len(history), ids)

    def _pick(self, verdict: Verdict, node: int, history: Sequence[int]) -> int:
        if self._plain:
            return verdict.argmax(node)
        if self._constraint is not None and not self._processors and self._sampling.plain_greedy:
            best = verdict.argmax(node)
            if self._constraint.allows(best):  # then no mask can change the pick
                return best
        ids, scores = self.scores(verdict.logits(node), history)
        return int(ids[np.argmax(scores)])


def penalise(
    logits: NDArray[np.float32], sampling: Sampling, prompt: Ids, history: Sequence[int]
) -> None:
    """Apply the penalties to `logits` f32[V], in place.

    Repetition as transformers does it (ids of prompt and output: positive logits are divided,
    others multiplied), then presence, frequency (output only) and
    biases as OpenAI documents them.
    """
    written, counts = np.unique(np.asarray(history, np.int64), return_counts=True)
    seen = np.union1d(prompt, written)
    factor = np.float32(sampling.repetition_penalty)
    logits[seen] = np.where(logits[seen] < 0, logits[seen] * factor, logits[seen] / factor)
    logits[written] -= np.float32(sampling.presence_penalty)
    logits[written] -= np.float32(sampling.frequency_penalty) * counts.astype(np.float32)
    for id_, bias in sampling.logit_bias:
        logits[id_] += np.float32(bias)


def survivors(logits: NDArray[np.float32], sampling: Sampling) -> tuple[NDArray[np.intp], Scores]:
    """The ids that may be sampled, ascending, and their tempered logits (0 is the best).

    Temperature, then top-k, top-p, min-p, in transformers' order. Each is a threshold on the logit,
    so ids that tie with the last one kept stay too, and the best id always stays.
    """
    with np.errstate(over="ignore"):  # a tiny temperature sends the others to -inf, as it should
        scores = (logits.astype(np.float64) - float(logits.max())) / sampling.temperature
    threshold = -np.inf
    if 0 < sampling.top_k < len(scores):
        threshold = np.partition(scores, -sampling.top_k)[-sampling.top_k]
    if sampling.top_p < 1:
        weights = np.where(scores >= threshold, np.exp(scores), 0)
        total = float(weights.sum())
        # Ids lighter than this weigh less than 1 - top_p all together: no need to sort them.
        heavy = scores[weights >= (1 - sampling.top_p) * total / len(weights)]
        falling = np.sort(heavy)[::-1]
        last = np.searchsorted(np.cumsum(np.exp(falling)), sampling.top_p * total)
        threshold = falling[min(last, len(falling) - 1)]
    if sampling.min_p > 0:
        threshold = max(threshold, np.log(sampling.min_p))
    ids = np.flatnonzero((scores >= threshold) & (scores > -np.inf))
    return ids, scores[ids]


def gumbel(seed: int, position: int, ids: NDArray[np.intp]) -> Scores:
    """Standard Gumbel noise that is a function of (seed, position, id) alone: f64 like `ids`."""
    key = _mix(np.array([seed & _MASK], np.uint64))
    key = _mix(key ^ _mix(np.array([position + 1], np.uint64) * _GOLDEN))
    bits = _mix(key + ids.astype(np.uint64) * _GOLDEN) >> np.uint64(11)
    uniform = (bits.astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.log(uniform))


_MASK = 2**64 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit decides every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
