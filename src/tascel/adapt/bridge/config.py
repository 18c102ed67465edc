"""How a bridge is trained, beside how any model is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """Who reads, and how what was read meets what is written.

    Attributes:
        large: the reader: Hugging Face id or folder.
        layer: after how many of a decoder's layers its states are taken; None: two thirds. An
            encoder's are its last.
        adapter: a PEFT folder on top of the reader.
        how: projected states are added to the small model's embeddings ("add") or stand in their
            place ("replace").
        hidden: width of the projector's hidden layer; None: twice that of the small model.
        rate: how many times faster than the small model the projector learns.
        dtype: the reader's; "auto" is the checkpoint's own.
    """

    large: str | Path
    layer: int | None = None
    adapter: str | Path | None = None
    how: str = "add"
    hidden: int | None = None
    rate: float = 1.0
    dtype: str = "auto"
