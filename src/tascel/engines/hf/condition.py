"""What a model is fed at a prompt's positions in place of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from transformers import PreTrainedModel

from tascel.types import Ids


class Conditioner(Protocol):
    """Knows more of a prompt than the model reads out of its ids."""

    def __call__(self, prompt: Ids, embedded: torch.Tensor) -> torch.Tensor:
        """What to feed at the positions of `prompt` i32[n], whose embeddings are `embedded`
        `[n, w]`: `[n, w]`, same dtype and device. Asked once for each request."""
        ...


@runtime_checkable
class BatchConditioner(Conditioner, Protocol):
    """One that does several prompts at less cost than one after the other."""

    def many(self, prompts: Sequence[Ids], embedded: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What it says of each prompt."""
        ...


@dataclass(slots=True, eq=False)
class Prompt:
    """A row's prompt i32[n] and, from the row's first pass on, what it is `fed` as: `[n, w]`. That
    is kept, since a row may have to be read again."""

    ids: Ids
    fed: torch.Tensor | None = None


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

    def fed(self, prompts: Sequence[Ids]) -> list[torch.Tensor]:
        """What each prompt i32[n] is fed as: `[n, w]`."""
        device, asked = self._model.device, self._conditioner
        with torch.inference_mode():
            embedded = [
                self._embed(torch.as_tensor(prompt.astype("int64"), device=device))
                for prompt in prompts
            ]
            if len(prompts) > 1 and isinstance(asked, BatchConditioner):
                said = asked.many(prompts, embedded)
            else:
                said = [asked(*pair) for pair in zip(prompts, embedded, strict=True)]
            return [own.to(before) for own, before in zip(said, embedded, strict=True)]

    def inputs(self, ids: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor:
        """What the tokens i64[N] of a pass are fed as: `[1, N, w]`."""
        fresh = [piece.prompt for piece in pieces if piece.prompt.fed is None]
        for prompt, fed in zip(fresh, self.fed([p.ids for p in fresh]), strict=True):
            prompt.fed = fed
        embedded = self._embed(ids)
        for at, past, size, prompt in pieces:
            assert prompt.fed is not None
            own = prompt.fed[past : past + size]
            embedded[at : at + len(own)] = own
        return embedded[None]

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        # In the shape of a pass: families may embed nothing else. A copy, since it is written into.
        return cast(torch.Tensor, self._model.get_input_embeddings()(ids[None])[0]).clone()
