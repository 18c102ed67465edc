"""How traces become training batches: only the answer is learned, and padding never counts.

Sequences are padded on the left, so every answer ends at the batch's last column and the model
needs logits for the last columns only. Masks come from lengths, never from the pad id: for many
models padding and the end of a turn are the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, TypedDict

from tascel.codec import Codec
from tascel.traces.folds import folds, groups
from tascel.types import Trace

if TYPE_CHECKING:
    import torch

#: Where the loss ignores a label (torch's default).
IGNORED = -100
#: Lengths are rounded up to this, since kernels are prepared once for each shape.
_STEP = 8
#: Of fewer traces none can be spared to judge by; of more, a tenth at most.
_FEW, _TENTH = 100, 10


class Example(TypedDict):
    """One sequence: prompt and answer ids, and how many of them are the answer."""

    input_ids: list[int]
    answer: int


def split(
    traces: Iterable[Trace], valid: int, limit: int | None = None, seed: int = 0
) -> tuple[list[Trace], list[Trace]]:
    """What to train on, and at most `valid` traces to judge by; both only where there is an answer.

    Judged by the split `valid` if there is one, else by a fold of the training traces that no
    similar trace is left in. Traces of other splits are passed over. Of more than `limit` training
    traces so many are drawn: a file may be sorted.
    """
    train: list[Trace] = []
    named: list[Trace] = []
    for trace in traces:
        if trace.answer is not None and trace.split in (None, "train", "valid"):
            (named if trace.split == "valid" else train).append(trace)
    if limit is not None and limit < len(train):
        train = Random(seed).sample(train, limit)
    held = named
    if valid and not named and len(train) >= _FEW:
        fold = folds(groups(train), max(_TENTH, -(-len(train) // valid)), seed)
        held = [t for t, f in zip(train, fold, strict=True) if f == 0]
        train = [t for t, f in zip(train, fold, strict=True) if f]
    return train, Random(seed).sample(held, min(valid, len(held)))


def examples(traces: Iterable[Trace], codec: Codec, max_length: int) -> tuple[list[Example], int]:
    """Traces as id sequences, and how many were left out for being longer than `max_length`."""
    found: list[Example] = []
    too_long = 0
    for trace, answer in codec.answers(traces):
        ids = [*codec.prompt(trace.messages, trace.tools).tolist(), *answer.tolist()]
        if len(ids) > max_length:
            too_long += 1
        else:
            found.append({"input_ids": ids, "answer": len(answer)})
    return found, too_long


def collate(batch: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """One padded batch of i64: ids, mask and positions [B, S]; labels [B, K] of the last K."""
    import torch

    width = _round_up(max(len(e["input_ids"]) for e in batch))
    # The column before an answer predicts its first id.
    kept = _round_up(max(e["answer"] for e in batch) + 1)
    ids = torch.full((len(batch), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full((len(batch), min(kept, width)), IGNORED, dtype=torch.long)
    for row, example in enumerate(batch):
        sequence = torch.tensor(example["input_ids"])
        ids[row, width - len(sequence) :] = sequence
        mask[row, width - len(sequence) :] = 1
        labels[row, labels.shape[1] - example["answer"] :] = sequence[-example["answer"] :]
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        "labels": labels,
    }


class SimilarLengths:
    """An order of examples whose batches hold similar lengths, themselves in random order.

    Sorted within windows of a few batches only: long batches after one another, then short ones,
    would teach the model to write long and then to stop early.
    """

    _WINDOW = 4

    def __init__(self, rows: Sequence[Example], batch: int, seed: int) -> None:
        self._lengths = [len(row["input_ids"]) for row in rows]
        self._batch, self._seed, self._epoch = batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Each epoch has its own order."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = Random(f"{self._seed} {self._epoch}")
        order = rng.sample(range(len(self)), len(self))
        batches: list[list[int]] = []
        for window in _chunks(order, self._WINDOW * self._batch):
            batches += _chunks(sorted(window, key=self._lengths.__getitem__), self._batch)
        # A batch that is not full must come last, or it would shift all after it.
        last = [batches.pop()] if len(batches[-1]) < self._batch else []
        rng.shuffle(batches)
        for batch in batches + last:
            yield from batch


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _round_up(n: int) -> int:
    return -(-n // _STEP) * _STEP
