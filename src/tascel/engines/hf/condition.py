"""What a model is fed at a prompt's positions in place of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from transformers import PreTrainedModel

from tascel.types import Ids


class Conditioner(Protocol):
    """Knows more of a prompt than the model reads out of its ids."""

    def __call__(self, prompt: Ids, embedded: torch.Tensor) -> torch.Tensor:
        """What to feed at the positions of `prompt` i32[n], whose embeddings are `embedded`
        `[n, w]`: `[n, w]`, same dtype and device. Asked once for each request."""
        ...


class Prompt:
    """A row's prompt i32[n]; what it is fed as is asked for in the row's first pass and kept, since
    a row may have to be read again."""

    def __init__(self, ids: Ids, conditioned: Conditioned) -> None:
        self._ids = ids
        self._conditioned = conditioned
        self._fed: torch.Tensor | None = None

    @property
    def fed(self) -> torch.Tensor:
        """`[n, w]`."""
        if self._fed is None:
            self._fed = self._conditioned.fed(self._ids)
        return self._fed


class Piece(NamedTuple):
    """Of a pass the `size` tokens from `at` on: they stand at the positions from `past` on in a
    text that begins with `prompt`."""

    at: int
    past: int
    size: int
    prompt: Prompt


class Conditioned:
    """A model's embeddings, those of prompts as `conditioner` wants them."""

    def __init__(self, model: PreTrainedModel, conditioner: Conditioner) -> None:
        self._model: Any = model
        self._conditioner = conditioner

    def fed(self, prompt: Ids) -> torch.Tensor:
        """What a prompt i32[n] is fed as: `[n, w]`."""
        ids = torch.as_tensor(prompt.astype("int64"), device=self._model.device)
        with torch.inference_mode():
            embedded = self._embed(ids)
            return self._conditioner(prompt, embedded).to(embedded)

    def inputs(self, ids: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor:
        """What the tokens i64[N] of a pass are fed as: `[1, N, w]`."""
        embedded = self._embed(ids)
        for at, past, size, prompt in pieces:
            own = prompt.fed[past : past + size]
            embedded[at : at + len(own)] = own
        return embedded[None]

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        # In the shape of a pass: families may embed nothing else. A copy, since it is written into.
        return cast(torch.Tensor, self._model.get_input_embeddings()(ids[None])[0]).clone()
