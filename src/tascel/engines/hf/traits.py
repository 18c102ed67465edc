"""What a transformers model says about itself: limits, end ids, and whether it can roll back."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, cast

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tascel.errors import ModelError

_UNLIMITED = 1 << 30
#: Layers that differ only by the mask. (Llama 4's chunked ones also scale by the cache's length.)
_PACKED_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts read from config and code, no pass run.

    `obstacle` says why rejected tokens cannot be taken back, empty if they can; `own_attention`
    whether the layers can run with an attention function of ours; `windowed` whether some layers
    see only the last tokens; `cache_name` and `last_logits` are how `forward` wants its cache and
    whether it can skip all but some logits.
    """

    name: str
    context_limit: int
    rope_switch: int
    vocab_size: int
    eos_ids: frozenset[int]
    obstacle: str
    own_attention: bool
    windowed: bool
    masks: bool
    cache_name: str
    last_logits: bool


def read_traits(model: PreTrainedModel) -> Traits:
    """Read the facts about `model`.

    Raises:
        ModelError: an encoder-decoder, or a model with a cache only its own code can drive.
    """
    name = type(model).__name__
    whole: Any = model.config
    if whole.is_encoder_decoder:
        raise ModelError(f"{name} is an encoder-decoder", "Use a decoder-only language model")
    accepts = inspect.signature(model.forward).parameters
    cache_name = next((n for n in ("past_key_values", "cache_params") if n in accepts), "")
    lm: Any = model
    if not cache_name or not lm._supports_default_dynamic_cache():
        raise ModelError(
            f"{name} keeps its state in a cache of its own kind",
            "Use a model whose cache is transformers' DynamicCache",
        )
    config: Any = whole.get_text_config(decoder=True)
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    strange = kinds - {DynamicLayer, DynamicSlidingWindowLayer}
    obstacle = ""
    if strange or lm._is_stateful:
        names = " and ".join(sorted(kind.__name__ for kind in strange)) or "its running state"
        obstacle = f"{names} cannot take rejected tokens back"
    context_limit = positions(config)
    return Traits(
        name=name,
        context_limit=context_limit,
        rope_switch=_rope_switch(config, context_limit),
        vocab_size=int(lm.get_input_embeddings().weight.shape[0]),
        eos_ids=_eos_ids(model),
        obstacle=obstacle,
        own_attention=not obstacle
        and "position_ids" in accepts
        and lm._can_set_attn_implementation()
        and {*(getattr(config, "layer_types", None) or ())} <= _PACKED_LAYERS,
        windowed=DynamicSlidingWindowLayer in kinds
        or "local" in getattr(config, "attention_layers", ()),
        masks="position_ids" in accepts and whole._attn_implementation in ("sdpa", "eager"),
        cache_name=cache_name,
        last_logits="logits_to_keep" in accepts,
    )


def positions(config: Any) -> int:
    """How long a text may be, as a model's text config says; a very large number if it does not."""
    for name in ("max_position_embeddings", "max_seq_len", "seq_length"):
        if isinstance(limit := getattr(config, name, None), int) and limit > 0:
            return limit
    return _UNLIMITED


def _rope_switch(config: Any, context_limit: int) -> int:
    """Length beyond which longrope turns all positions differently (dynamic rope: the limit)."""
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *cast(list[dict[str, Any]], [p for p in rope.values() if isinstance(p, dict)])]
    switches: list[int] = [
        part["original_max_position_embeddings"]
        for part in kinds
        if part.get("rope_type") == "longrope" and "original_max_position_embeddings" in part
    ]
    return min([context_limit, *switches])


def _eos_ids(model: PreTrainedModel) -> frozenset[int]:
    """The generation config's ids, as stock `generate` uses them; else the config's."""
    for config in (getattr(model, "generation_config", None), model.config):
        listed: Any = getattr(config, "eos_token_id", None)
        if listed is not None:
            return frozenset(cast(list[int], listed) if isinstance(listed, list) else [int(listed)])
    return frozenset()
