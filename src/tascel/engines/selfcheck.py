"""Asks the model itself whether our passes are its own, by a few tiny ones.

Families differ in what they do with a cropped cache, a mask or a foreign attention function, and
some ignore them without a word. The checks compare logits to those of a pass without drafts or
mates, and call them equal if the difference is small against what seeing one more token does (the
control), so they need no tolerance for a dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tascel.decode.engine import Row, Verdict
from tascel.draft.base import Proposal
from tascel.types import Ids

_EQUAL = 0.25  # bf16 noise is below a tenth of the control, an ignored mask is all of it
# Between passes of one token and of many it was up to 0.28 of the control in one place and 0.03 on
# average (a fine-tuned SmolLM2 in bf16); another scaling of attention is more on average.
_EQUAL_IN_ALL, _EQUAL_IN_ONE = 0.1, 0.5
_PROMPT = 6
_LONGER = 16

Logits = NDArray[np.float32]


class Rows(Protocol):
    """What the checks need of an engine's rows."""

    def open(  # noqa: D102
        self, prompt: Ids, size: int, tenant: str | None = None
    ) -> tuple[Row, int]: ...
    def check(  # noqa: D102
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]: ...
    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None: ...  # noqa: D102
    def close(self, row: Row) -> None: ...  # noqa: D102


class Checked(Rows, Protocol):
    """As `Rows`, with the vocabulary's size."""

    vocab_size: int


def packs(rows: Rows, alone: Callable[[Sequence[int]], Logits], vocab_size: int) -> bool:
    """Whether a pass over two rows, a tree and a chain, gives each the logits it has `alone`: the
    model's own f32[n, V] for a text; then once more, behind what was kept of both."""
    prompt, (wrong, right, child, after) = _ids(vocab_size)
    longer = (3 * prompt)[::-1][:_LONGER]
    try:
        found, other = _two_rows(rows, prompt, longer, wrong, right, child, after)
        truth = alone([*prompt, right, child, after])[_PROMPT - 1 :]
        drafted = alone([*longer, wrong, child])[_LONGER - 1 :]
        settled = alone([*longer, right, after])[_LONGER:]
        control = alone([*prompt, wrong, right, child, after])[_PROMPT + 1 :]
    except Exception:  # what a family raises that knows no packed rows is its own affair
        return False
    scale = _distance(control, truth[1:]).mean()
    found = np.concatenate([found, other])
    truth = np.concatenate([truth, drafted, settled])
    apart = _distance(found, truth) / scale
    return bool(apart.mean() <= _EQUAL_IN_ALL and apart.max() <= _EQUAL_IN_ONE)


def self_check(rows: Checked, trees: bool) -> tuple[bool, bool]:
    """Whether rejected tokens leave no trace, and whether trees (if asked) are seen as trees."""
    _, (wrong, *good) = _ids(rows.vocab_size)
    truth = _logits(rows, Proposal.chain(good))
    control = _logits(rows, Proposal.chain([wrong, *good]))
    tolerance = _EQUAL * _distance(control, truth)

    rejected = Proposal.chain([wrong, wrong])
    rolls_back = np.all(_distance(_logits(rows, rejected, [], good), truth) <= tolerance)
    if not (trees and rolls_back):
        return bool(rolls_back), False

    right, child, after = good
    try:
        seen = _logits(rows, _tree(wrong, right, child), [1, 2], [after])
    except Exception:  # what a family raises that knows no 4D mask is its own affair
        return True, False
    return True, bool(np.all(_distance(seen, truth) <= tolerance))


def _ids(vocab_size: int) -> tuple[list[int], list[int]]:
    """A prompt and four more ids, spread over the vocabulary."""
    spread = np.linspace(3, vocab_size - 1, _PROMPT + 4, dtype=np.int32)
    ids: list[int] = spread[::-1].tolist()
    return ids[:_PROMPT], ids[_PROMPT:]


def _tree(wrong: int, right: int, child: int) -> Proposal:
    """Two siblings; the second has a child."""
    return Proposal(
        tokens=np.array([wrong, right, child], np.int32),
        parents=np.array([-1, -1, 1], np.int16),
        trust=np.ones(3, np.float32),
        source=np.zeros(3, np.uint8),
    )


def _distance(one: Logits, other: Logits) -> NDArray[np.float32]:
    return np.abs(one - other).mean(axis=1)


def _two_rows(
    rows: Rows, prompt: list[int], longer: list[int], wrong: int, right: int, child: int, after: int
) -> tuple[Logits, Logits]:
    """f32[4, V] of the first row (prompt, tree, and behind it `after`), f32[5, V] of the other
    (a chain of wrong and child, then right and after in its place)."""
    leads = [np.array(ids, np.int32) for ids in (prompt, longer)]
    opened = [rows.open(lead, 2 * _LONGER)[0] for lead in leads]
    tree, chain = _tree(wrong, right, child), Proposal.chain([wrong, child])
    first, second = rows.check(opened, leads, [tree, chain])
    found = [first.logits(node) for node in (-1, 1, 2)]
    other = [second.logits(node) for node in (-1, 0, 1)]
    rows.keep(opened, [[1, 2], []])
    leads = [np.array([after], np.int32), np.array([right], np.int32)]
    first, second = rows.check(opened, leads, [Proposal.nothing(), Proposal.chain([after])])
    found.append(first.logits(-1))
    other += [second.logits(-1), second.logits(0)]
    rows.keep(opened, [[], []])
    for row in opened:
        rows.close(row)
    return np.stack(found), np.stack(other)


def _logits(
    rows: Checked, offered: Proposal, path: Sequence[int] = (), then: Sequence[int] = ()
) -> Logits:
    """f32[3, V]: the last three logits of a pass with `offered` and, after `keep(path)`, `then`."""
    prompt = np.array(_ids(rows.vocab_size)[0], np.int32)
    row, _ = rows.open(prompt, 2 * _PROMPT)
    try:
        (verdict,) = rows.check([row], [prompt], [offered])
        logits = [verdict.logits(node) for node in range(-1, len(offered))]
        if then:
            rows.keep([row], [path])
            rest = Proposal.chain(then[1:])
            (verdict,) = rows.check([row], [np.array(then[:1], np.int32)], [rest])
            logits += [verdict.logits(node) for node in range(-1, len(rest))]
    finally:
        rows.close(row)
    return np.stack(logits[-3:])
