"""transformers' logits processors under our picking rule, those with a state included."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from tascel.errors import RequestError
from tascel.types import Ids

#: They look at each row by itself, and sorting the vocabulary for all of them would cost.
_ROW_BY_ROW = (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    MinPLogitsWarper,
    TypicalLogitsWarper,
    NoRepeatNGramLogitsProcessor,
)
#: Not copied with what holds them: they are big and keep no state of an answer.
_SHARED = (torch.nn.Module, PreTrainedTokenizerBase)

Anything = TypeVar("Anything")


class HfProcessors:
    """Logits processors of transformers, one after the other, as one `types.Processor`.

    The loop calls it once a token along what is really written, so a processor may keep a state.
    What was made for a batch of `rows` is shown so many copies of this row, number `row`,
    left-padded with `padding` as in that batch; only its own is looked at.
    """

    def __init__(
        self,
        processors: Sequence[LogitsProcessor],
        device: torch.device | str = "cpu",
        padding: Sequence[int] = (),
        row: int = 0,
        rows: int = 1,
    ) -> None:
        self._processors = processors
        self._device = device
        self._padding = np.asarray(padding, np.int64)
        self._row = row
        self._rows = rows

    def __call__(self, history: Ids, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `types.Processor`. Raises what a processor raises."""
        written = np.concatenate([self._padding, history])[None]
        ids: Any = torch.as_tensor(written, device=self._device)
        scores: Any = torch.as_tensor(logits[None], device=self._device)
        with torch.no_grad():
            for process in self._processors:
                alone = isinstance(process, _ROW_BY_ROW)
                rows, row = (1, 0) if alone else (self._rows, self._row)
                scores = process(ids.repeat(rows, 1), scores.repeat(rows, 1))[row : row + 1]
        return scores[0].to("cpu", torch.float32).numpy()


def processors(
    given: LogitsProcessor | Sequence[LogitsProcessor], device: torch.device | str = "cpu"
) -> Callable[[], list[HfProcessors]]:
    """For `Request.processors`: every answer gets its own copies of `given`.

    Args:
        given: one of transformers' logits processors, or some in their order.
        device: where their tensors lie.
    """
    kept = [given] if isinstance(given, LogitsProcessor) else [*given]
    return lambda: [HfProcessors(fresh(kept), device)]


def fresh(parts: Sequence[Anything]) -> list[Anything]:
    """Deep copies of processors or stopping criteria; models and tokenizers in them are shared.

    Raises:
        RequestError: one of them cannot be copied.
    """
    held = (value for part in parts for value in getattr(part, "__dict__", {}).values())
    shared = {id(value): value for value in held if isinstance(value, _SHARED)}
    try:
        return copy.deepcopy([*parts], shared)
    except Exception as error:  # whatever a user's class may raise
        names = ", ".join(type(part).__name__ for part in parts)
        raise RequestError(
            f"one of {names} cannot be copied for each answer ({error})",
            "Give it a __deepcopy__, or answer one prompt at a time",
        ) from error
