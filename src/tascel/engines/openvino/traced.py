"""A transformers model as an OpenVINO graph that keeps its own cache, traced with torch.

Inputs and state are named as optimum-intel names them, so that other libraries run the result, too.
Every token's place is counted in unmasked tokens, in windows as well, so a caller may take tokens
back by masking them.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, masking_utils
from transformers.cache_utils import DynamicLayer

from tascel.engines.openvino.package import openvino
from tascel.errors import ModelError

ov, ops = openvino(), openvino("openvino.opset13")
steps = openvino("openvino._offline_transformations")
masking: Any = masking_utils  # its types are partly unknown
INPUTS = ("input_ids", "attention_mask", "position_ids")
#: What a masked score is: no infinity, since a row that sees nothing would be no number, and within
#: reach of half precision.
_HIDDEN = -65504.0
#: Any numbers above one: a length of one would be taken for a constant.
_EXAMPLE = (2, 3, 4)  # texts, tokens of each, and before them in the cache
Shape = tuple[int, int]  # of a layer's keys or values: heads, and numbers of each


class Traceable(torch.nn.Module):
    """The model with its cache as arguments and results, and masks of our own."""

    def __init__(self, model: PreTrainedModel, windows: dict[str, int | None] | int | None) -> None:
        super().__init__()
        self._model, self._windows = model, windows

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """Logits f32[B, Q, V] of ids i64[B, Q] behind P tokens in the cache, whose keys and values
        of each layer are f32[B, H, P, D]; all keys and values then. The mask is i64[B, P + Q]."""
        cache = DynamicCache()
        for keys, values in zip(past[::2], past[1::2], strict=True):
            cache.layers.append(_layer(keys, values))
        new = input_ids.shape[1]
        mask = (
            {kind: _mask(attention_mask, new, size) for kind, size in self._windows.items()}
            if isinstance(self._windows, dict)
            else _mask(attention_mask, new, self._windows)
        )
        found: Any = self._model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        layers: list[Any] = found.past_key_values.layers
        return found.logits, *(each for layer in layers for each in (layer.keys, layer.values))


def traced(model: PreTrainedModel) -> Any:
    """The OpenVINO model: logits f32[B, Q, V] of the new tokens, the cache as its state.

    Raises:
        ModelError: layers of the model see what no mask of ours says.
        Exception: whatever torch and OpenVINO raise where they cannot follow the model.
    """
    traceable = Traceable(model, _windows(model)).eval()
    shapes = _shapes(model)
    texts, new, before = _EXAMPLE
    past = [torch.zeros(texts, heads, before, size) for heads, size in shapes]
    example = (
        torch.ones(texts, new, dtype=torch.long),
        torch.ones(texts, before + new, dtype=torch.long),
        torch.arange(before, before + new).repeat(texts, 1),
        *past,
    )
    with torch.no_grad():
        graph: Any = ov.convert_model(traceable, example_input=example)
    _name(graph, shapes)
    _make_stateful(graph, shapes)
    return graph


def _layer(keys: Tensor, values: Tensor) -> DynamicLayer:
    """A layer's cache that holds these already."""
    layer: Any = DynamicLayer()
    layer.keys, layer.values, layer.is_initialized = keys, values, True
    layer.dtype, layer.device = keys.dtype, keys.device
    return layer


def _mask(attention_mask: Tensor, new: int, window: int | None) -> Tensor:
    """What to add to the scores: f32[B, 1, Q, P + Q], from the caller's mask i64[B, P + Q]."""
    slots = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    own = slots[slots.shape[0] - new :]
    seen = (slots[None, :] <= own[:, None])[None] & (attention_mask[:, None, :] > 0)
    if window is not None:
        place = attention_mask.cumsum(1)
        seen = seen & (place[:, place.shape[1] - new :, None] - place[:, None, :] < window)
    return torch.where(seen[:, None], 0.0, _HIDDEN)


def _windows(model: PreTrainedModel) -> dict[str, int | None] | int | None:
    """How many tokens layers see: one number, or one for each kind of layer where the model wants
    a mask for each. None sees all."""
    config = cast(Any, model.config).get_text_config(decoder=True)
    wanted: Any = masking.create_masks_for_generate(
        config=config,
        inputs_embeds=torch.zeros(1, 1, config.hidden_size),
        attention_mask=None,
        past_key_values=DynamicCache(),
        position_ids=torch.zeros(1, 1, dtype=torch.long),
    )
    size = cast("int | None", getattr(config, "sliding_window", None))
    if not isinstance(wanted, dict):
        return size
    known = {"full_attention": None, "sliding_attention": size}
    kinds = {str(kind) for kind in cast(dict[Any, Any], wanted)}
    if strange := kinds - {*known}:
        raise ModelError(
            f"{type(model).__name__} has layers of {', '.join(sorted(strange))}",
            "Run it with --engine hf",
        )
    return {kind: known[kind] for kind in kinds}


def _shapes(model: PreTrainedModel) -> list[Shape]:
    """Of every layer's keys and values, as a pass leaves them."""
    cache: Any = DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.zeros(1, 1, dtype=torch.long), past_key_values=cache, use_cache=True)
    states = [each for layer in cache.layers for each in (layer.keys, layer.values)]
    return [(state.shape[1], state.shape[3]) for state in states]


def _states(kind: str, shapes: list[Shape]) -> list[str]:
    return [f"{kind}.{at // 2}.{('key', 'value')[at % 2]}" for at in range(len(shapes))]


def _name(graph: Any, shapes: list[Shape]) -> None:
    """Give inputs and outputs their usual names, and any number of texts and tokens."""
    names = [*INPUTS, *_states("past_key_values", shapes)]
    sizes = [[-1, -1] for _ in INPUTS] + [[-1, heads, -1, size] for heads, size in shapes]
    for given, name, shape in zip(graph.inputs, names, sizes, strict=True):
        given.get_tensor().set_names({name})
        node = given.get_node()
        node.set_friendly_name(name)
        node.set_partial_shape(ov.PartialShape(shape))
        if name in INPUTS:
            node.set_element_type(ov.Type.i64)
    outputs = ["logits", *_states("present", shapes)]
    for found, name in zip(graph.outputs, outputs, strict=True):
        found.get_tensor().set_names({name})
    graph.validate_nodes_and_infer_types()


def _make_stateful(graph: Any, shapes: list[Shape]) -> None:
    """Turn the cache into a state that starts empty. `beam_idx` i32[B] says which row of the state
    each text goes on from."""
    whole = ov.Type.i64
    beam: Any = ops.parameter(ov.PartialShape([-1]), ov.Type.i32, name="beam_idx")
    beam.output(0).get_tensor().set_names({"beam_idx"})
    graph.add_parameters([beam])
    first = ops.constant(0, whole)
    past = _states("past_key_values", shapes)
    for name in past:
        given = graph.input(name)
        takers = given.get_target_inputs()
        picked = ops.gather(given, beam, first)
        for taker in takers:
            taker.replace_source_output(picked.output(0))
    graph.validate_nodes_and_infer_types()
    pairs = dict(zip(past, _states("present", shapes), strict=True))
    steps.apply_make_stateful_transformation(graph, pairs)
    ids = ops.shape_of(graph.input("input_ids"), output_type="i64")
    texts = ops.gather(ids, ops.constant([0], whole), first)
    for node in graph.get_ops():
        if node.get_type_name() == "ReadValue":
            _, heads, _, size = node.get_output_partial_shape(0)
            rest = [ops.constant([n], whole) for n in (heads.get_length(), 0, size.get_length())]
            empty = ops.concat([texts, *rest], 0)
            node.set_arguments([ops.broadcast(ops.constant(0.0, ov.Type.f32), empty).output(0)])
    graph.validate_nodes_and_infer_types()
