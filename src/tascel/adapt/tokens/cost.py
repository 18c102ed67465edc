"""A model's sizes and what its rows cost, told from its configuration: no weights are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tascel.errors import ModelError


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a model is.

    Attributes:
        rows: of its head.
        width: of a row.
        read: weights that a step reads, which is all but an input matrix of its own.
        matrices: 1 if the head is the input matrix, else 2.
        bytes: of a weight, in the checkpoint's own type.
    """

    rows: int
    width: int
    read: int
    matrices: int
    bytes: int

    def vocabulary(self, rows: int, matrices: int = 1) -> int:
        """Bytes of so many rows in so many matrices."""
        return rows * self.width * matrices * self.bytes

    def step(self, rows: float) -> float:
        """What a step reads with a head of so many rows, as a share of what it reads now."""
        return 1 + (rows - self.rows) * self.width / self.read


def row_cost(model: str | Path) -> float:
    """What one more row adds to each step, as a share of it: its width beside the weights read.

    Raises:
        ModelError: as `sizes`.
    """
    told = sizes(model)
    return told.width / told.read


def sizes(model: str | Path) -> Sizes:
    """A model's sizes.

    Raises:
        ModelError: no configuration of a causal language model is there, or transformers is not.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ModelError(
            "a model's size needs torch and transformers", "pip install 'tascel[hf]'"
        ) from error
    auto: Any = transformers  # untyped
    try:
        config = auto.AutoConfig.from_pretrained(str(model))
        with torch.device("meta"):
            shapes: Any = auto.AutoModelForCausalLM.from_config(config)
    except Exception as error:  # transformers raises a dozen kinds for what may be wrong here
        raise ModelError(
            f"no size can be told from the config.json of {model} ({error})".splitlines()[0],
            "Give a folder with config.json of a causal language model, or a Hugging Face id",
        ) from error
    inputs, head = shapes.get_input_embeddings().weight, shapes.get_output_embeddings().weight
    total, tied = sum(weight.numel() for weight in shapes.parameters()), head is inputs
    dtype = getattr(config, "dtype", None) or torch.float32
    rows, width = head.shape
    return Sizes(
        rows, width, total if tied else total - inputs.numel(), 1 if tied else 2, dtype.itemsize
    )
