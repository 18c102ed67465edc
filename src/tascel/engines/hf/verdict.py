"""The logits of one pass, as the loop asks for them."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray


class Logits:
    """`[R, V]` of all rows of a pass, on the model's device."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits = logits
        self._best: list[int] | None = None

    def __len__(self) -> int:
        return len(self._logits)

    @property
    def best(self) -> list[int]:
        """The highest logit by row; computed for all of them at once on first use."""
        if self._best is None:
            best = (
                self._logits.float().numpy().argmax(-1)  # ten times torch's speed on CPUs
                if self._logits.device.type == "cpu"
                else self._logits.argmax(-1)
            )
            self._best = cast(list[int], best.tolist())  # pyright: ignore[reportUnknownMemberType]
        return self._best

    def at(self, index: int) -> NDArray[np.float32]:
        """f32[V], a copy."""
        return self._logits[index].to("cpu", torch.float32, copy=True).numpy()


class HfVerdict:
    """One row's part of a pass: its root is at `root` in `logits`, the proposal's nodes follow."""

    __slots__ = ("_logits", "_root")

    def __init__(self, logits: Logits, root: int = 0) -> None:
        self._logits = logits
        self._root = root

    def argmax(self, node: int) -> int:
        """The id with the highest raw logit after `node`; the lowest id among equals."""
        return self._logits.best[self._root + node + 1]

    def logits(self, node: int) -> NDArray[np.float32]:
        """f32[V], a copy."""
        return self._logits.at(self._root + node + 1)
