"""Fewer layers: a smaller model made of some of another's, sharing its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from tascel.engines.hf.adapter import merge_adapter
from tascel.engines.hf.load import named
from tascel.engines.hf.quiet import quietly, short
from tascel.errors import ModelError


def stack_of(model: PreTrainedModel) -> str:
    """The dotted name of the list that holds the model's decoder layers.

    Raises:
        ModelError: it keeps them in no such list.
    """
    count = _count(model)
    modules: Iterable[tuple[str, nn.Module]] = cast(Any, model).named_modules()
    for name, module in modules:
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name
    raise ModelError(
        f"{type(model).__name__} keeps its {count} layers in no list",
        "Use a model of a family like Llama, Qwen, Gemma, Mistral or GPT-2",
    )


def spaced(total: int, kept: int) -> list[int]:
    """`kept` of `total` layers at even distances, the first and the last among them.

    Raises:
        ModelError: there are not so many.
    """
    if not 1 <= kept <= total:
        raise ModelError(f"{kept} of {total} layers cannot be kept", f"Keep 1 to {total}")
    return [round(at * (total - 1) / max(kept - 1, 1)) for at in range(kept)]


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A model of only these layers of `model`, in this order, with its embedding, last norm and
    head. All parameters are `model`'s own, not copies.

    Raises:
        ModelError: the model keeps its layers in no list, or has not these.
    """
    from accelerate import init_empty_weights  # pyright: ignore[reportMissingTypeStubs]

    stack, count = stack_of(model), _count(model)
    if not layers or not all(0 <= layer < count for layer in layers):
        raise ModelError(f"there are no layers {list(layers)} among {count}", "Name others")
    with init_empty_weights(include_buffers=False):
        cut: Any = cast(Any, AutoModelForCausalLM).from_config(
            _shorter(model.config, layers), dtype=model.dtype
        )
    source = model.state_dict()
    weights = {name: value for name, value in source.items() if not name.startswith(f"{stack}.")}
    for at, layer in enumerate(layers):
        own = f"{stack}.{layer}."
        weights |= {
            f"{stack}.{at}.{name.removeprefix(own)}": value
            for name, value in source.items()
            if name.startswith(own)
        }
    cut.load_state_dict(weights, assign=True)
    cut.tie_weights()
    cut.generation_config = copy.deepcopy(model.generation_config)
    return cut.to(model.device).eval()


def with_changes(cut: PreTrainedModel, adapter: str | Path) -> PreTrainedModel:
    """`cut` with the changes of a PEFT `adapter` in its layers.

    The layers become copies, of whatever shared them; embedding, norm and head stay shared.

    Raises:
        ModelError: the adapter cannot be loaded, belongs to another model or changes more than
            layers.
    """
    stack, folder = stack_of(cut), named(adapter)
    strays = [name for name in _changed(folder) if f".{stack}." not in name]
    if strays:
        raise ModelError(
            f"the adapter {folder} changes {strays[0]}, which other models share",
            "Train one on the layers alone",
        )
    for weight in cut.get_submodule(stack).parameters():
        weight.data = weight.data.clone()
    with quietly():
        merged = merge_adapter(cut, f"{type(cut).__name__} of so many layers", folder)
    return merged.eval()


def own_bytes(model: PreTrainedModel, other: PreTrainedModel) -> int:
    """Bytes of the parameters of `model` that are not those of `other`."""
    shared = {weight.data_ptr() for weight in other.parameters()}
    return sum(w.nbytes for w in model.parameters() if w.data_ptr() not in shared)


def _changed(adapter: str) -> list[str]:
    """The names of an adapter's weights."""
    import peft

    try:
        return [*cast(Any, peft).load_peft_weights(adapter, device="cpu")]
    except Exception as error:  # peft and safetensors each raise their own
        raise ModelError(
            f"the adapter {adapter} cannot be loaded ({short(error)})",
            "Give the folder of a PEFT adapter",
        ) from error


def _count(model: PreTrainedModel) -> int:
    config: Any = model.config
    return config.get_text_config().num_hidden_layers


def _shorter(config: Any, layers: Sequence[int]) -> Any:
    """The configuration of so many layers; what it lists by layer is cut as they are."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    count = text.num_hidden_layers
    for name, value in cast(dict[str, Any], vars(text)).items():
        if isinstance(value, list) and len(cast(list[Any], value)) == count:
            setattr(text, name, [value[layer] for layer in layers])
    text.num_hidden_layers = len(layers)
    return config
