"""Which ids each trace's prompt and answer hold: what every count of a selection begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tascel.codec import Codec
from tascel.errors import TraceError
from tascel.traces.folds import folds, held_out_ways
from tascel.types import Ids, Trace

#: Told (stage, done, total).
Progress = Callable[[str, int, int | None], None]
Flags = NDArray[np.bool_]
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Uses:
    """Which ids stand in which document: one entry for each pair of them.

    Attributes:
        document, id, times: i32[m] each.
    """

    document: Ids
    id: Ids
    times: Ids

    def frequency(self, vocab_size: int, where: Flags | slice = slice(None)) -> NDArray[np.int64]:
        """In how many documents each id stands, by the entries `where` points at: i64[vocab]."""
        return np.bincount(self.id[where], minlength=vocab_size)


@dataclass(frozen=True, eq=False)
class Needs:
    """Ids of a task's traces.

    Attributes:
        answers: what answers hold, with new tokens where the model writes some.
        given: bool[m], which of their entries stand in the prompt, too.
        prompts: what prompts hold.
        folds: i32[traces] for each way to hold traces out that differs: by the groups that they
            name, where they do, and by near-duplicates. What is alike shares a fold.
        vocab_size: the tokenizer's.
    """

    answers: Uses
    given: Flags
    prompts: Uses
    folds: Sequence[Ids]
    vocab_size: int

    @staticmethod
    def of(
        answers: Sequence[Ids], prompts: Sequence[Ids], traces: Sequence[Trace], vocab_size: int
    ) -> Needs:
        """Of traces whose answers and prompts are given as ids."""
        written, read = _uses(answers), _uses(prompts)
        given = np.isin(_keys(written, vocab_size), _keys(read, vocab_size))
        dealt = [folds(groups, _FOLDS) for groups in held_out_ways(traces)]
        return Needs(written, given, read, dealt, vocab_size)

    def __len__(self) -> int:
        return len(self.folds[0])


def needs(
    traces: Sequence[Trace],
    codec: Codec,
    progress: Progress = lambda stage, done, total: None,
) -> Needs:
    """Read the ids of traces.

    Raises:
        TraceError: none has an answer, or the template cannot write one.
    """
    answered = [trace for trace in traces if trace.answer is not None]
    if not answered:
        raise TraceError("no trace has an answer to select from", "Give traces with an `output`")
    answers: list[Ids] = []
    prompts: list[Ids] = []
    for at, (trace, answer) in enumerate(codec.answers(answered), 1):
        answers.append(answer)
        prompts.append(codec.prompt(trace.messages, trace.tools))
        progress("reading traces", at, len(answered))
    return Needs.of(answers, prompts, answered, codec.vocab_size)


def _uses(texts: Sequence[Ids]) -> Uses:
    counted = [np.unique(text, return_counts=True) for text in texts]
    document = np.repeat(np.arange(len(texts)), [len(ids) for ids, _ in counted])
    ids, times = (np.concatenate(column) for column in zip(*counted, strict=True))
    return Uses(document.astype(np.int32), ids.astype(np.int32), times.astype(np.int32))


def _keys(uses: Uses, vocab_size: int) -> NDArray[np.int64]:
    return uses.document.astype(np.int64) * vocab_size + uses.id
