"""A vocabulary's matrix kept off the device: rows are gathered from it, or it is streamed through.

On a CPU it lies in the file that it was mapped from; beside a GPU in host memory.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.nn import functional as F

#: Entries of the matrix that are converted or moved at once.
_PIECE = 1 << 23


class Table:
    """The matrix `full` `[V, H]`, of any dtype, on the host; what leaves it has the model's `dtype`
    and lies on its `device`."""

    def __init__(self, full: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self._full = full.detach()
        self._bias = None if bias is None else bias.detach()
        self.device, self.dtype = full.device, full.dtype

    def __len__(self) -> int:
        return len(self._full)

    @property
    def width(self) -> int:
        """H, what a row holds."""
        return self._full.shape[1]

    @property
    def bytes(self) -> int:
        """Of the matrix, where it lies."""
        return self._full.numel() * self._full.element_size()

    def settle(self, device: torch.device, dtype: torch.dtype, pinned: bool) -> None:
        """Say where what leaves goes; `pinned` keeps the matrix in memory that a GPU can copy from
        by itself."""
        self.device, self.dtype = device, dtype
        if self._bias is not None:
            self._bias = self._bias.to(device, dtype)
        if pinned and device.type == "cuda":
            self._full = self._full.pin_memory()

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """`[n, H]` for ids i64[n], which may lie anywhere."""
        return self._full.index_select(0, ids.cpu()).to(self.device, self.dtype)

    def biases(self, ids: torch.Tensor) -> torch.Tensor | None:
        """`[n]` for ids i64[n], None if there are none."""
        return None if self._bias is None else self._bias.index_select(0, ids.to(self.device))

    def product(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[..., V]` of hidden states `[..., H]`: a linear layer with all rows."""
        full = self._full
        if full.device == hidden.device and full.dtype == hidden.dtype:
            return F.linear(hidden, full, self._bias)
        out = hidden.new_empty(*hidden.shape[:-1], len(full))
        piece = max(1, _PIECE // self.width)
        for at, rows in zip(range(0, len(full), piece), _split(full, piece), strict=True):
            moved = rows.to(hidden.device, hidden.dtype, non_blocking=True)
            out[..., at : at + piece] = F.linear(hidden, moved)
        return out if self._bias is None else out.add_(self._bias)


class Embedding(torch.nn.Module):
    """In place of an embedding: the rows that a pass needs are gathered, and the module's own
    forward, which may scale them, sees these alone."""

    def __init__(self, own: torch.nn.Embedding, table: Table) -> None:
        super().__init__()
        self._table = table
        own.padding_idx = None  # only gradients know of padding, and ids are others here
        del own.weight
        self._own = own

    @property
    def weight(self) -> torch.Tensor:
        """A matrix of this shape and dtype that lies nowhere."""
        table = self._table
        return torch.empty(len(table), table.width, dtype=table.dtype, device="meta")

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """`[..., H]` of ids i64[...]."""
        cast(Any, self._own).weight = self._table.rows(ids.flatten())
        return self._own(torch.arange(ids.numel(), device=self._table.device).view(ids.shape))


def _split(full: torch.Tensor, piece: int) -> tuple[torch.Tensor, ...]:
    return cast(tuple[torch.Tensor, ...], cast(Any, full).split(piece))
