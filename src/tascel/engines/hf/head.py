"""A language model's head with rows for some ids: a fixed selection, and those that open requests
and recent answers brought.

A slot keeps its row until another id takes the slot, so what stands in the used slots are always
true rows of the whole head, each once. Nothing has to be hidden.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from tascel.engines.hf.table import Table
from tascel.types import Ids

#: Slots beside the selection's at first; the matrix is made longer where open requests need more.
SPARE = 256


class Head(torch.nn.Module):
    """In place of a head: outside our passes the whole matrix, in them the used slots.

    `static` i32[n] are the ids of the first slots, ascending; `ids` i32[slots] what every slot
    holds.
    """

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self.static = self.ids = np.zeros(0, np.int32)
        self.used = 0
        self._fixed = frozenset[int]()
        self._slots: OrderedDict[int, int] = OrderedDict()  # of joined ids, least recent first
        self._pins: Counter[int] = Counter()
        self._matrix = torch.empty(0)
        self._bias: torch.Tensor | None = None
        self._order: NDArray[np.intp] | None = None
        self._reading = False
        self._seen: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """A matrix of the whole head's shape and dtype that lies nowhere."""
        table = self.table
        return torch.empty(len(table), table.width, dtype=table.dtype, device="meta")

    @property
    def bytes(self) -> int:
        """What the slots take on the device."""
        return self._matrix.numel() * self._matrix.element_size()

    def settle(self, static: Ids) -> None:
        """Make the slots, the first of them for the ids `static`, on the table's device."""
        self.static, self.used = static, len(static)
        self._fixed = frozenset(cast(list[int], static.tolist()))
        self.ids = np.zeros(0, np.int32)
        self._stretch(len(static) + SPARE)
        self._put(np.arange(len(static)), static)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[..., used]` in a pass of ours, `[..., V]` else."""
        if not self._reading:
            return self.table.product(hidden)
        self._seen = hidden
        bias = None if self._bias is None else self._bias[: self.used]
        return F.linear(hidden, self._matrix[: self.used], bias)

    def __enter__(self) -> Head:
        self._reading, self._seen = True, None
        return self

    def __exit__(self, *_: object) -> None:
        self._reading = False

    @property
    def seen(self) -> torch.Tensor:
        """The hidden states `[..., H]` that the last pass of ours scored."""
        assert self._seen is not None
        return self._seen

    @property
    def order(self) -> NDArray[np.intp]:
        """The used slots by ascending id."""
        if self._order is None:
            self._order = np.argsort(self.ids[: self.used], kind="stable")
        return self._order

    def join(self, ids: Iterable[int], pinned: bool) -> list[int]:
        """The slots of those of `ids` that are not static, once each; new ones get a slot.

        Pinned ids keep theirs until `leave`. Others may get none, where all slots are pinned.
        """
        wanted = [i for i in dict.fromkeys(ids) if i not in self._fixed]
        known = [i for i in wanted if i in self._slots]
        for id_ in known:
            self._slots.move_to_end(id_)
        if pinned:
            self._pins.update(known)
        fresh: list[int] = []
        for id_ in wanted:
            if id_ not in self._slots and (slot := self._free(grow=pinned)) is not None:
                self._slots[id_] = slot
                fresh.append(id_)
                if pinned:
                    self._pins[id_] += 1
        fresh = [i for i in fresh if i in self._slots]
        if fresh:
            self._put(np.array([self._slots[i] for i in fresh]), np.array(fresh, np.int32))
        return [self._slots[i] for i in wanted if i in self._slots]

    def leave(self, slots: Iterable[int]) -> None:
        """Unpin what `join` pinned; the rows stay until their slots are needed."""
        for slot in slots:
            id_ = int(self.ids[slot])
            self._pins[id_] -= 1
            if not self._pins[id_]:
                del self._pins[id_]

    def _free(self, grow: bool) -> int | None:
        """An unused slot, else that of the unpinned id used longest ago, else a new one."""
        if self.used < len(self.ids):
            self.used += 1
            return self.used - 1
        if (oldest := next((i for i in self._slots if i not in self._pins), None)) is not None:
            return self._slots.pop(oldest)
        if not grow:
            return None
        self._stretch(len(self.static) + 2 * (len(self.ids) - len(self.static)))
        self.used += 1
        return self.used - 1

    def _stretch(self, slots: int) -> None:
        table, before = self.table, len(self.ids)
        matrix = torch.zeros(slots, table.width, dtype=table.dtype, device=table.device)
        matrix[:before] = self._matrix[:before] if before else 0
        self._matrix = matrix
        self.ids = np.concatenate([self.ids, np.zeros(slots - before, np.int32)])
        if table.biases(torch.zeros(0, dtype=torch.long)) is not None:
            bias = torch.zeros(slots, dtype=table.dtype, device=table.device)
            if self._bias is not None:
                bias[:before] = self._bias
            self._bias = bias

    def _put(self, slots: NDArray[np.intp], ids: Ids) -> None:
        """Write the rows of `ids` into `slots`."""
        self.ids[slots] = ids
        self._order = None
        which = torch.as_tensor(ids.astype(np.int64))
        where = torch.as_tensor(slots, device=self.table.device)
        with torch.inference_mode():
            self._matrix.index_copy_(0, where, self.table.rows(which))
            biases = self.table.biases(which)
            if biases is not None and self._bias is not None:
                self._bias.index_copy_(0, where, biases)
