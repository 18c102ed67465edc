"""Asks the model itself whether it rolls back and honours tree masks, by a few tiny passes.

Families differ in what they do with a cropped cache or a 4D mask, and some ignore the mask without
a word. The check compares logits after a pass with rejected tokens to those of a fresh pass without
them, and calls them equal if the difference is small against what seeing a rejected token does (the
control), so it needs no tolerance for a dtype.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tascel.decode.engine import Engine
from tascel.draft.base import Proposal
from tascel.types import Request

_EQUAL = 0.25  # bf16 noise is below a tenth of the control, an ignored mask is all of it
_PROMPT = 6

Rows = NDArray[np.float32]


def rolls_back(engine: Engine) -> bool:
    """Whether a chain can be rejected and decoding go on as if it had never been."""
    wrong, *good = _ids(engine)[_PROMPT:]
    seen = _logits(engine, Proposal.chain([wrong, wrong]), path=[], then=good)
    return _same(engine, seen[-3:])


def takes_trees(engine: Engine) -> bool:
    """Whether a tree in one pass, then `keep`, gives the logits of plain passes."""
    wrong, right, child, after = _ids(engine)[_PROMPT:]
    tree = Proposal(
        tokens=np.array([wrong, right, child], np.int32),
        parents=np.array([-1, -1, 1], np.int16),
        trust=np.ones(3, np.float32),
        source=np.zeros(3, np.uint8),
    )
    try:
        seen = _logits(engine, tree, path=[1, 2], then=[after])
    except Exception:  # what a family raises that knows no 4D mask is its own affair
        return False
    return _same(engine, seen[-3:])


def _ids(engine: Engine) -> list[int]:
    """A prompt and four more ids, spread over the vocabulary."""
    spread = np.linspace(3, engine.vocab_size - 1, _PROMPT + 4, dtype=np.int32)
    return spread[::-1].tolist()


def _same(engine: Engine, seen: Rows) -> bool:
    """`seen` f32[3, V]: logits after the three good ids, against a fresh pass and the control."""
    wrong, *good = _ids(engine)[_PROMPT:]
    truth = _logits(engine, Proposal.chain(good))[-3:]
    control = _logits(engine, Proposal.chain([wrong, *good]))[-3:]
    return bool(np.all(_distance(seen, truth) <= _EQUAL * _distance(control, truth)))


def _distance(one: Rows, other: Rows) -> NDArray[np.float32]:
    return np.abs(one - other).mean(axis=1)


def _logits(
    engine: Engine, offered: Proposal, path: list[int] | None = None, then: list[int] | None = None
) -> Rows:
    """Logits of the root, of all nodes and, after `keep(path)`, of the tokens `then`."""
    request = Request("self-check", np.array(_ids(engine)[:_PROMPT], np.int32))
    (row,), (verdict,) = engine.prefill([request], [offered])
    logits = [verdict.logits(node) for node in range(-1, len(offered))]
    if path is not None and then:
        engine.keep(row, path)
        rest = Proposal.chain(then[1:])
        (verdict,) = engine.check([row], np.array(then[:1], np.int32), [rest])
        logits += [verdict.logits(node) for node in range(-1, len(rest))]
    engine.close(row)
    return np.stack(logits)
