"""A model whose two vocabulary matrices are ours: the embedding is offloaded, the head has rows for
some ids on the device and all of them off it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import MoeModelOutputWithPast

from tascel.engines.hf.head import Head
from tascel.engines.hf.matrices import matrices
from tascel.engines.hf.scores import Scores
from tascel.engines.hf.table import Embedding, Table
from tascel.errors import ModelError
from tascel.types import Ids

#: Ids of the text that proves that the model answers as before.
_PROBE = 6
#: How far logits may move on average, against how far they are spread: rounding.
_EQUAL = 0.05


class Vocabulary:
    """Takes the place of a model's embedding and head; `settle` then makes the head's slots.

    Outside our passes the model answers as it did, more slowly.

    Raises:
        ModelError: the model has no such two matrices, or they are not plain ones.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model: Any = model
        embedding, head = matrices(model)
        name = type(model).__name__
        plain = isinstance(embedding, torch.nn.Embedding) and isinstance(head, torch.nn.Linear)
        self._body: Any = model.base_model
        if not plain or self._body is model or not head.weight.is_floating_point():
            raise _cannot(name)
        spread = np.linspace(0, len(head.weight) - 1, _PROBE, dtype=np.int64)
        self._probe = torch.as_tensor(spread)[None]
        before = self._alone()
        table = Table(head.weight, head.bias)
        self.head = Head(table)
        self.tables = [table]
        if embedding.weight is not head.weight:
            self.tables.append(Table(embedding.weight))
        self._model.set_input_embeddings(Embedding(embedding, self.tables[-1]))
        self._model.set_output_embeddings(self.head)
        self._compare(self._alone(), before)

    def settle(self, static: Ids, lossless: bool) -> None:
        """Keep the matrices where they are, and the rows of the ids `static` where the model is and
        in its dtype.

        Raises:
            ModelError: the model does not answer as it did.
        """
        device, dtype = self._model.device, self._model.dtype
        for table in self.tables:
            table.settle(device, dtype, pinned=lossless and table is self.head.table)
        inside = static[static < len(self.head.table)]
        self.head.settle(inside)
        alone = self._alone()
        seen = self.run(input_ids=self._probe.to(device), use_cache=False)
        self._compare(self.full(seen.hidden).float().cpu(), alone)
        some = torch.as_tensor(inside.astype(np.int64))
        self._compare(torch.as_tensor(seen.values), alone.index_select(1, some))

    def run(self, **inputs: Any) -> Scores:
        """A pass of the model that scores the head's slots."""
        with torch.inference_mode(), self.head as head:
            logits = self._model(**inputs).logits[0]
        ids = head.ids[: head.used].copy()
        return Scores(logits, head.seen[0], ids, head.order, len(head.table))

    def full(self, hidden: torch.Tensor) -> torch.Tensor:
        """The model's own logits `[n, V]` for the hidden states `[n, H]` that its head was given:
        by its own code, which may scale or cap them."""
        with torch.inference_mode(), _answering(self._body, hidden[None]):
            ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
            return self._model(input_ids=ids, use_cache=False).logits[0]

    def _compare(self, found: torch.Tensor, wanted: torch.Tensor) -> None:
        spread = (wanted - wanted.mean()).abs().mean()
        if not (found - wanted).abs().mean() <= _EQUAL * spread:
            raise _cannot(type(self._model).__name__)

    def _alone(self) -> torch.Tensor:
        """f32`[n, V]` of the probe, on the CPU."""
        ids = self._probe.to(self._model.device)
        with torch.inference_mode():
            return self._model(input_ids=ids, use_cache=False).logits[0].float().cpu()


@dataclass
class _Output(MoeModelOutputWithPast):
    """What heads may look for in their layers' output."""

    cross_attentions: Any = None


@contextmanager
def _answering(body: Any, hidden: torch.Tensor) -> Generator[None]:
    """Within, the model's layers answer `hidden` to whatever they are given."""
    output = _Output(last_hidden_state=cast(Any, hidden))
    body.forward = lambda *_, **__: output  # pyright: ignore[reportUnknownLambdaType]
    try:
        yield
    finally:
        del body.forward


def _cannot(name: str) -> ModelError:
    return ModelError(
        f"the vocabulary of {name} cannot be tailored: it is no plain pair of matrices",
        "Use it with the full head (--head full)",
    )
