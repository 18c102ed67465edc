"""PEFT adapters merged into the weights of the model they were trained on."""

from __future__ import annotations

from typing import Any, cast

from tascel.engines.hf.matrices import untie, widen
from tascel.engines.hf.quiet import missing_extra, short
from tascel.errors import ModelError


def merge_adapter(model: Any, name: str, adapter: str) -> Any:
    """`model`, called `name`, with the adapter's changes added to its weights.

    Raises:
        ModelError: the adapter cannot be loaded, or belongs to another model.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise missing_extra("an adapter needs peft") from error
    remedy = f"Give a PEFT folder that was trained on {name}"
    try:
        config: Any = cast(Any, PeftConfig).from_pretrained(adapter)
        _make_room(model, getattr(config, "trainable_token_indices", None))
        wrapped: Any = PeftModel(model, config)
        report = wrapped.load_adapter(adapter, "default")
        merged = wrapped.merge_and_unload()
    except Exception as error:  # as above: torch, peft and safetensors each raise their own
        raise ModelError(
            f"the adapter {adapter} cannot be loaded ({short(error)})", remedy
        ) from error
    if strays := [*report.missing_keys, *report.unexpected_keys]:
        raise ModelError(
            f"the adapter {adapter} belongs to another model: {strays[0]} has no counterpart",
            remedy,
        )
    return merged


def _make_room(model: Any, learned: dict[str, list[int]] | list[int] | None) -> None:
    """Make rows for ids that an adapter has rows for; a head of its own if it has rows of both."""
    if not learned:
        return
    by_matrix = learned if isinstance(learned, dict) else {"": learned}
    widen(model, 1 + max(max(ids) for ids in by_matrix.values()))
    if len(by_matrix) > 1:
        untie(model)
