"""The model in training: which of its weights learn, in what precision, and how it is asked."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tascel.adapt.train.config import FinetuneConfig
from tascel.adapt.train.data import IGNORED
from tascel.engines.hf.load import load_model
from tascel.errors import ModelError

if TYPE_CHECKING:
    import torch


def load_base(model: str | Path, config: FinetuneConfig) -> Any:
    """The model as it will be trained: float32 where all of it learns, else bfloat16 or NF4.

    Raises:
        ModelError: it cannot be loaded, or is to be held in 4 bits without bitsandbytes or an
            accelerator.
    """
    if config.method == "full":
        return load_model(model, dtype="float32")
    if config.method == "lora":
        return load_model(model, dtype="bfloat16")
    try:
        import bitsandbytes  # noqa: F401  # pyright: ignore
    except ImportError as error:
        raise ModelError(
            "4-bit training needs bitsandbytes", "pip install bitsandbytes, or use --method lora"
        ) from error
    import torch
    from transformers import BitsAndBytesConfig

    if not torch.accelerator.is_available():
        # In 0.50 a CPU's weights are packed at the first evaluation, and gradients end there.
        raise ModelError("4-bit training needs an accelerator", "Use --method lora")
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return load_model(model, dtype="bfloat16", quantization=four_bits)


def learning(base: Any, config: FinetuneConfig, rows: Sequence[int] = ()) -> Any:
    """`base` with an adapter on all linear layers, and its vocabulary's new `rows` set free.

    With method "full" the model itself, all of it free.

    Raises:
        ModelError: there are no layers for LoRA, or a head whose bias PEFT would leave out.
    """
    from peft import LoraConfig, get_peft_model

    if config.method == "full":
        tuned: Any = base
    else:
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules="all-linear",
            trainable_token_indices=_indices(base, rows) if rows else None,
            task_type="CAUSAL_LM",
        )
        try:
            tuned = get_peft_model(base, lora)
        except ValueError as error:
            name = type(base).__name__
            raise ModelError(f"{name} has no layers that LoRA can be added to ({error})") from error
    base.get_output_embeddings().register_forward_pre_hook(_contiguous)
    return tuned


def _indices(base: Any, rows: Sequence[int]) -> dict[str, list[int]]:
    """Which rows of which matrix learn. PEFT itself follows a head that is tied."""
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise ModelError(
            f"the head of {type(base).__name__} has a bias, which PEFT leaves out where single "
            "rows are trained",
            "Train with --method full, or without new tokens",
        )
    matrices = [embedding] if head.weight is embedding.weight else [embedding, head]
    return {
        name: [*rows]
        for name, module in base.named_modules()
        if any(module is matrix for matrix in matrices)
    }


def _contiguous(_: Any, args: tuple[Any]) -> tuple[Any]:
    """A head that is given a slice of columns would copy its weights for every row of the batch."""
    return (args[0].contiguous(),)


def answer_loss(model: Any, batch: dict[str, Any], reduction: str = "mean") -> torch.Tensor:
    """Cross-entropy in nats over the answers of a batch that `collate` made.

    Asks for the logits of the answers' columns only.
    """
    from torch.nn.functional import cross_entropy

    inputs = {name: value for name, value in batch.items() if name != "labels"}
    labels = batch["labels"]
    logits = model(**inputs, logits_to_keep=labels.shape[1], use_cache=False).logits
    return cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        labels[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction=reduction,
    )


@contextmanager
def bf16_flow(tuned: Any) -> Generator[None]:
    """An adapter's weights are float32 for the optimiser; everything that flows stays bfloat16."""
    # PEFT's own `disable_input_dtype_casting` trips over layers that train single rows.
    layers = [layer for layer in tuned.modules() if hasattr(layer, "cast_input_dtype_enabled")]
    for layer in layers:
        layer.cast_input_dtype_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.cast_input_dtype_enabled = True


@contextmanager
def quiet() -> Generator[None]:
    """Without the libraries' notes to one another on what will be renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
