"""Traces cut in two for an estimate: to learn from, and to replay."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from tascel.errors import TraceError
from tascel.traces.folds import folds, groups
from tascel.types import Trace

#: Traces that drafts learn from: for an estimate, in a minute.
_LEARNED = 8000
#: One of so many folds is held out, where no split `valid` is.
_FOLDS = 10


def held_out(traces: Iterable[Trace], limit: int) -> tuple[list[Trace], list[Trace]]:
    """Traces that drafts learn from, and at most `limit` whose answers are replayed: of the split
    `valid`, or a fold of those to learn from where there is none. The split `test` is passed over.

    Raises:
        TraceError: there is nothing to learn from, or nothing to replay.
    """
    every = [trace for trace in traces if trace.answer is not None]
    learned = [trace for trace in every if trace.split in (None, "train")]
    held = [trace for trace in every if trace.split == "valid"]
    if not held and learned:
        fold = folds(groups(learned), _FOLDS)
        held = [trace for trace, at in zip(learned, fold, strict=True) if at == 0]
        learned = [trace for trace, at in zip(learned, fold, strict=True) if at]
    held = Random(0).sample(held, min(limit, len(held)))
    learned = Random(0).sample(learned, min(_LEARNED, len(learned)))
    if not learned or not held:
        raise TraceError(
            "there are too few traces to learn from some and replay others",
            "Give more of them with an answer, or name splits `train` and `valid`",
        )
    return learned, held
