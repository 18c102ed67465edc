"""The logits of one pass, as the loop asks for them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tascel.decode.engine import Verdict, not_numbers


class Shown(Protocol):
    """What a pass of the model shows of some of its tokens."""

    def select(self, rows: torch.Tensor | slice) -> Shown:
        """Some of these tokens."""
        ...

    def verdict(self, root: int) -> Verdict:
        """That of a row whose root is the token `root`; its proposal's nodes follow."""
        ...


class Run(Protocol):
    """Runs the model with the inputs of its `forward`, one text."""

    def __call__(self, **inputs: Any) -> Shown: ...  # noqa: D102


def plain(model: Any) -> Run:
    """Shows the logits as they are."""

    def run(**inputs: Any) -> Logits:
        return Logits(model(**inputs).logits[0])

    return run


class Logits:
    """`[R, V]` of tokens of a pass, on the model's device."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits = logits
        self._best: list[int | None] | None = None

    def __len__(self) -> int:
        return len(self._logits)

    def select(self, rows: torch.Tensor | slice) -> Logits:
        """Those of some tokens."""
        return Logits(self._logits[rows])

    def verdict(self, root: int) -> HfVerdict:
        """That of a row whose root is the token `root`."""
        return HfVerdict(self, root)

    @property
    def best(self) -> list[int | None]:
        """The highest logit by row, None if there are no numbers; computed for all of them at once
        on first use."""
        if self._best is None:
            if self._logits.device.type == "cpu":
                values = self._logits.float().numpy()
                best = values.argmax(-1)  # ten times torch's speed on CPUs
                highest = np.take_along_axis(values, best[:, None], -1)[:, 0]
            else:
                top = self._logits.max(-1)
                best, highest = top.indices.cpu().numpy(), top.values.float().cpu().numpy()
            # Of a row that holds something that is no number, argmax finds that.
            ids: list[int] = best.tolist()
            self._best = [
                None if lost else id_ for id_, lost in zip(ids, np.isnan(highest), strict=True)
            ]
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
        """The id with the highest raw logit after `node`; the lowest id among equals.

        Raises:
            ModelError: the logits are not numbers.
        """
        best = self._logits.best[self._root + node + 1]
        if best is None:
            raise not_numbers()
        return best

    def logits(self, node: int) -> NDArray[np.float32]:
        """f32[V], a copy."""
        return self._logits.at(self._root + node + 1)
