"""What a row costs a model, told from its configuration: no weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tascel.errors import ModelError


def row_cost(model: str | Path) -> float:
    """What one more row adds to each step, as a share of it: the row's width beside the weights
    that a step reads, which is all but an input matrix of its own.

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
    read = sum(weight.numel() for weight in shapes.parameters())
    return head.shape[1] / (read if head is inputs else read - inputs.numel())
