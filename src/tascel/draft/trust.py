"""How far to believe what matches say: learned on held-out traces, not taken from shares.

Each output is walked with an index that has never seen its group, and the evidence of every kind of
match is fitted to what really came: so matches of several lengths and of both sources blend, and
escape to "none of these", as far as that was right (cf. PPM, Cleary and Witten 1984, whose escape
is a fixed formula).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.draft.features import Features
from tascel.draft.kernels import evidence, learning
from tascel.draft.kernels.copying import Words
from tascel.draft.knowledge import Knowledge
from tascel.draft.state import State
from tascel.types import Ids

EPOCHS = 4
#: Looked at in one epoch: more positions than this teach little more.
POSITIONS = 150_000
RATE = 0.05
DECAY = 1e-3


#: Log-odds by cell, f32[2, CELLS]: for a token, and for none of those named.
Trust = NDArray[np.float32]


def unknown() -> Trust:
    """Nothing learned: a share of all in one match is believed at half its worth."""
    return _folded(_prior())


_observe: Callable[..., learning.Seen] = learning.observe


def learn(
    outputs: Sequence[Ids],
    prompts: Sequence[Ids],
    words: Sequence[Words],
    about: Sequence[Features],
    folds: Sequence[NDArray[np.int32]],
    vocab_size: int,
    progress: Callable[[int], None] = lambda done: None,
    seed: int = 0,
) -> Trust:
    """Learn trust: each output against what the other folds teach.

    Args:
        outputs: ids of every trace's answer, closing id included; a sample of a task is enough.
        prompts: ids of their prompts, for the context source; their `words` and what they are
            `about`.
        folds: i32[n] each, the fold of every trace in one way of holding out: near-duplicates
            share a fold, or whole groups do. What is counted both ways stands between the two;
            which is nearer the traffic shows online.
        progress: called with the number of walks so far, one a trace and way.
        seed: of the order in which positions are visited.
    """
    parts: list[learning.Seen] = []
    for fold_of in folds:
        for fold in np.unique(fold_of).tolist():
            rest: list[int] = np.flatnonzero(fold_of != fold).tolist()
            held: list[int] = np.flatnonzero(fold_of == fold).tolist()
            known = Knowledge.of(
                [outputs[i] for i in rest], [words[i] for i in rest], [about[i] for i in rest],
                vocab_size,
            )  # fmt: skip
            sources = known.sources
            flat = (*sources.index, *sources.templates, *sources[2:])
            for i in held:
                state = State(
                    sources, prompts[i], words[i], known.recall(about[i]), len(outputs[i])
                )
                context = state.context
                parts.append(
                    _observe(
                        *flat, state.matches, context.tokens, context.lengths, state.desk,
                        state.facts, outputs[i],
                    )
                )  # fmt: skip
                progress(len(parts))
    weights = _prior()
    if parts:
        seen = _joined(parts)
        squares = np.zeros_like(weights)
        rng = np.random.default_rng(seed)
        for _ in range(EPOCHS):
            order = rng.permutation(len(seen.right))[:POSITIONS]
            learning.learn(seen, order, RATE, DECAY, weights, squares)
    return _folded(weights)


def _folded(weights: NDArray[np.float64]) -> Trust:
    trust = np.empty((2, evidence.CELLS), np.float32)
    learning.fold(weights, trust)
    return trust


def _prior() -> NDArray[np.float64]:
    """Weights before anything was seen: a token's evidence is a third of its share's logarithm."""
    weights = np.zeros((2, 4, evidence.CELLS))
    shares = np.log(np.maximum(evidence.SHARE_FLOORS, 0.01)) / 3
    weights[0, 0, : evidence.GROUPS * evidence.SHARES] = np.tile(shares, evidence.GROUPS)
    return weights


def _joined(parts: Sequence[learning.Seen]) -> learning.Seen:
    offsets = np.cumsum([0, *(part.start[-1] for part in parts)])
    return learning.Seen(
        cells=np.concatenate([part.cells for part in parts]),
        nothing=np.concatenate([part.nothing for part in parts]),
        start=np.concatenate(
            [*(p.start[:-1] + o for p, o in zip(parts, offsets[:-1], strict=True)), offsets[-1:]]
        ),
        right=np.concatenate([part.right for part in parts]),
    )
