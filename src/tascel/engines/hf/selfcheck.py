"""Asks the model itself whether it rolls back and honours tree masks, by a few tiny passes.

Families differ in what they do with a cropped cache or a 4D mask, and some ignore the mask without
a word. The check compares logits after a pass with rejected tokens to those of a fresh pass without
them, and calls them equal if the difference is small against what seeing a rejected token does (the
control), so it needs no tolerance for a dtype.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.decode.engine import Engine
from tascel.draft.base import Proposal

_EQUAL = 0.25  # bf16 noise is below a tenth of the control, an ignored mask is all of it
_PROMPT = 6

Rows = NDArray[np.float32]


def self_check(engine: Engine, trees: bool) -> tuple[bool, bool]:
    """Whether rejected tokens leave no trace, and whether trees (if asked) are seen as trees."""
    wrong, *good = _ids(engine)[_PROMPT:]
    truth = _logits(engine, Proposal.chain(good))
    control = _logits(engine, Proposal.chain([wrong, *good]))
    tolerance = _EQUAL * _distance(control, truth)

    rejected = Proposal.chain([wrong, wrong])
    rolls_back = np.all(_distance(_logits(engine, rejected, [], good), truth) <= tolerance)
    if not (trees and rolls_back):
        return bool(rolls_back), False

    right, child, after = good
    tree = Proposal(
        tokens=np.array([wrong, right, child], np.int32),
        parents=np.array([-1, -1, 1], np.int16),
        trust=np.ones(3, np.float32),
        source=np.zeros(3, np.uint8),
    )
    try:
        seen = _logits(engine, tree, [1, 2], [after])
    except Exception:  # what a family raises that knows no 4D mask is its own affair
        return True, False
    return True, bool(np.all(_distance(seen, truth) <= tolerance))


def _ids(engine: Engine) -> list[int]:
    """A prompt and four more ids, spread over the vocabulary."""
    spread = np.linspace(3, engine.vocab_size - 1, _PROMPT + 4, dtype=np.int32)
    return spread[::-1].tolist()


def _distance(one: Rows, other: Rows) -> NDArray[np.float32]:
    return np.abs(one - other).mean(axis=1)


def _logits(
    engine: Engine, offered: Proposal, path: Sequence[int] = (), then: Sequence[int] = ()
) -> Rows:
    """f32[3, V]: the last three logits of a pass with `offered` and, after `keep(path)`, `then`."""
    prompt = np.array(_ids(engine)[:_PROMPT], np.int32)
    row, _ = engine.open(prompt, 2 * _PROMPT)
    (verdict,) = engine.check([row], [prompt], [offered])
    logits = [verdict.logits(node) for node in range(-1, len(offered))]
    if then:
        engine.keep([row], [path])
        rest = Proposal.chain(then[1:])
        (verdict,) = engine.check([row], [np.array(then[:1], np.int32)], [rest])
        logits += [verdict.logits(node) for node in range(-1, len(rest))]
    engine.close(row)
    return np.stack(logits[-3:])
