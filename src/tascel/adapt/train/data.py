"""How traces become training batches: only the answer is learned, and padding never counts.

Sequences are padded on the left, so every answer ends at the batch's last column and the model
needs logits for the last columns only. Masks come from lengths, never from the pad id: for many
models padding and the end of a turn are the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, TypedDict

from tascel.codec import Codec
from tascel.errors import TraceError
from tascel.types import Trace

if TYPE_CHECKING:
    import torch

#: Where the loss ignores a label (torch's default).
IGNORED = -100
#: Lengths are rounded up to this, since kernels are prepared once for each shape.
_STEP = 8


class Example(TypedDict):
    """One sequence: prompt and answer ids, and how many of them are the answer."""

    input_ids: list[int]
    answer: int


def examples(
    traces: Iterable[Trace], codec: Codec, max_length: int, limit: int | None = None
) -> tuple[list[Example], int]:
    """Traces as id sequences, and how many were left out for being longer than `max_length`.

    Raises:
        TraceError: nothing to learn from.
    """
    found: list[Example] = []
    too_long = 0
    answered = (t for t in traces if t.answer is not None)
    for trace in islice(answered, limit):
        prompt, answer = codec.prompt(trace.messages, trace.tools), codec.answer(trace)
        if len(prompt) + len(answer) > max_length:
            too_long += 1
            continue
        found.append({"input_ids": [*prompt.tolist(), *answer.tolist()], "answer": len(answer)})
    if not found:
        raise TraceError(
            f"no trace to learn from ({too_long} were longer than {max_length} tokens)",
            "Give traces with an `output` or an assistant turn, or raise the maximum length",
        )
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
