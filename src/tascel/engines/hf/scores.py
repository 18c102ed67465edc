"""What a pass with a reduced head says: of some ids at once, of all of them when they are asked
for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from tascel.decode.engine import not_numbers
from tascel.draft.base import Proposal
from tascel.engines.hf.verdict import Logits
from tascel.types import Ids

#: So many nodes of a pass are scored fully together: that costs little more than scoring one.
TOGETHER = 8


class Scores:
    """Of R tokens of a pass the logits `[R, S]` of a head's S used slots and the hidden states
    `[R, H]` behind them. `ids` i32[S] are what the slots held, `order` i64[S] the slots by
    ascending id."""

    def __init__(
        self,
        logits: torch.Tensor,
        hidden: torch.Tensor,
        ids: Ids,
        order: NDArray[np.intp],
        vocab_size: int,
    ) -> None:
        self._logits = logits
        self.hidden = hidden
        self.ids = ids
        self.order = order
        self.vocab_size = vocab_size

    def select(self, rows: torch.Tensor | slice) -> Scores:
        """Those of some tokens."""
        logits, hidden = self._logits[rows], self.hidden[rows]
        return Scores(logits, hidden, self.ids, self.order, self.vocab_size)

    def verdict(self, root: int) -> PartVerdict:
        """By all slots, that of a row whose root is the token `root`."""
        return PartVerdict(self, root, self.order)

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """f32[R, S], on the host."""
        return self._logits.float().cpu().numpy()

    @cached_property
    def likeliest(self) -> list[int]:
        """The id of the highest logit by token."""
        return cast(list[int], self.ids[self.values.argmax(-1)].tolist())


#: A token of a pass.
Place = tuple[Scores, int]


class PartVerdict:
    """One row's verdict by the slots `slots` alone, given by ascending id; all other ids are
    -inf."""

    __slots__ = ("_slots", "root", "scores")

    def __init__(self, scores: Scores, root: int, slots: NDArray[np.intp]) -> None:
        self.scores, self.root = scores, root
        self._slots = slots

    def argmax(self, node: int) -> int:
        """The id with the highest logit after `node`; the lowest id among equals.

        Raises:
            ModelError: the logits are not numbers.
        """
        values = self._values(node)
        best = int(values.argmax())
        if np.isnan(values[best]):
            raise not_numbers()
        return int(self.scores.ids[self._slots[best]])

    def logits(self, node: int) -> NDArray[np.float32]:
        """f32[V], a copy."""
        logits = np.full(self.scores.vocab_size, -np.inf, np.float32)
        logits[self.scores.ids[self._slots]] = self._values(node)
        return logits

    def _values(self, node: int) -> NDArray[np.float32]:
        return self.scores.values[self.root + node + 1, self._slots]


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """A row of a pass: what was offered, and where the root and every node were scored. `sure` says
    that all of it will likely be asked for."""

    offered: Proposal
    places: Sequence[Place]
    sure: bool


class Whole:
    """The full logits of a pass, of as few nodes as will be asked for, in as few products.

    The first node asked for brings those that the reduced head would walk to in every row; one
    beyond these brings what the reduced head would walk to from there.
    """

    def __init__(self, full: Callable[[torch.Tensor], torch.Tensor], rows: Sequence[Nodes]) -> None:
        self._full = full
        self._rows = rows
        self._found: dict[tuple[int, int], tuple[Logits, int]] = {}

    def at(self, row: int, node: int) -> tuple[Logits, int]:
        """The logits that hold those after `node` of a row, and which of them it is."""
        if (row, node) not in self._found:
            self._score(self._first() if not self._found else [], row, node)
        return self._found[row, node]

    def _first(self) -> list[tuple[int, int]]:
        few = sum(len(nodes.places) for nodes in self._rows) <= TOGETHER
        return [
            (row, node)
            for row, nodes in enumerate(self._rows)
            for node in (
                range(-1, len(nodes.offered)) if few or nodes.sure else self._walk(row, -1)
            )
        ]

    def _score(self, wanted: list[tuple[int, int]], row: int, node: int) -> None:
        asked = dict.fromkeys([*wanted, *((row, below) for below in self._walk(row, node))])
        fresh = [key for key in asked if key not in self._found]
        places = [self._rows[row].places[node + 1] for row, node in fresh]
        with torch.inference_mode():
            hidden = torch.stack([scores.hidden[at] for scores, at in places])
            logits = Logits(self._full(hidden))
        self._found.update((key, (logits, at)) for at, key in enumerate(fresh))

    def _walk(self, row: int, node: int) -> list[int]:
        """`node` and where the reduced head would go from it."""
        nodes = self._rows[row]
        tokens, parents = nodes.offered.tokens, nodes.offered.parents
        path = [node]
        while True:
            scores, at = nodes.places[path[-1] + 1]
            below = np.flatnonzero((parents == path[-1]) & (tokens == scores.likeliest[at]))
            if not below.size:
                return path
            path.append(int(below[0]))


class WholeVerdict:
    """One row's part of it."""

    __slots__ = ("_row", "_whole")

    def __init__(self, whole: Whole, row: int) -> None:
        self._whole = whole
        self._row = row

    def argmax(self, node: int) -> int:
        """The id with the highest raw logit after `node`; the lowest id among equals.

        Raises:
            ModelError: the logits are not numbers.
        """
        logits, at = self._whole.at(self._row, node)
        if (best := logits.best[at]) is None:
            raise not_numbers()
        return best

    def logits(self, node: int) -> NDArray[np.float32]:
        """f32[V], a copy."""
        logits, at = self._whole.at(self._row, node)
        return logits.at(at)
