"""From a large model's states to what a small one is fed."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tascel.errors import ModelError

#: How projected states meet the embeddings: added to them, or in their place.
HOWS = ("add", "replace")


class Projector(nn.Module):
    """Linear, ReLU, Linear: states of width `read` to embeddings of width `write`, float32 unless
    cast.

    States are first scaled to a root mean square of one: in the middle of a model they may be of
    any size, and of another at every token. What comes out is in units of `scale`, the small
    model's own embeddings' root mean square: else the first steps of training would drown these.
    With "add" the last layer begins at zero, so that the small model begins as it was.

    Raises:
        ModelError: `how` is none of `HOWS`.
    """

    def __init__(self, read: int, hidden: int, write: int, how: str = "add") -> None:
        super().__init__()
        refuse_how(how)
        self.read, self.hidden, self.write, self.how = read, hidden, write, how
        self.first = nn.Linear(read, hidden)
        self.last = nn.Linear(hidden, write)
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.tensor(1.0))
        if how == "add":
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """`[..., write]` of states `[..., read]` of any dtype, in the projector's own."""
        states = F.rms_norm(states.to(self.first.weight), (self.read,), eps=1e-6)
        return self.scale * self.last(F.relu(self.first(states)))


def refuse_how(how: str) -> None:
    """See that states can be fused so.

    Raises:
        ModelError: `how` is none of `HOWS`.
    """
    if how not in HOWS:
        raise ModelError(f"states cannot be fused by {how!r}", f"Say {' or '.join(HOWS)}")


def fuse(
    embedded: torch.Tensor, projected: torch.Tensor, covered: torch.Tensor, how: str = "add"
) -> torch.Tensor:
    """Embeddings `[..., n, w]` with projected states `[..., n, w]` where `covered` bool[..., n],
    as they were elsewhere; in the embeddings' dtype."""
    projected = projected.to(embedded.dtype)
    changed = embedded + projected if how == "add" else projected
    return torch.where(covered[..., None], changed, embedded)
