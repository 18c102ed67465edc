"""Attention for packed rows, under a model's own layers, by transformers' AttentionInterface.

Three of its hooks work together. The cache's `update` writes a layer's new keys and values to the
slab and returns all of the slab. The mask function builds no mask: it hands on the family's own
rule (who may see whom by their positions: causal, sliding) with the plan of the pass. The attention
function cuts the plan's parts out of the slab and computes them, under the trees' masks and the
family's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function

from tascel.engines.hf.plan import Part, Plan
from tascel.engines.hf.slab import Slab
from tascel.errors import ModelError

NAME = "tascel"

Rule = Callable[[Any, Any, torch.Tensor, torch.Tensor], torch.Tensor]


class PackedCache(Cache):
    """One pass's view of the slab, in the shape of a transformers cache."""

    def __init__(self, slab: Slab, where: torch.Tensor) -> None:
        super().__init__(layers=[])
        self._slab = slab
        self._where = where

    def update(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write what the layer computed; all that it has ever written."""
        return self._slab.write(layer_idx, key_states, value_states, self._where)

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Where the packed tokens begin, as the mask functions ask."""
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """How much there is to see, as the mask functions ask."""
        return query_length, 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Refused: rows have many lengths. The self-check meets this error in a family that needs
        one, and runs it row by row."""
        raise ModelError("the rows of a packed pass have many lengths", "Run them one by one")


class Masks:
    """What the layers of one kind may see in this pass: the plan and the family's rule.

    The masks themselves are made on first use, additive, `[B, 1, G x Q, S]` for a part of B rows
    and G query heads that share a key head; None where everything is seen.
    """

    def __init__(self, plan: Plan, rule: Rule) -> None:
        self.plan = plan
        self.plain = rule is causal_mask_function
        self._rule = rule
        self._made: dict[tuple[int, int], torch.Tensor | None] = {}

    def of(self, number: int, heads: int, like: torch.Tensor) -> torch.Tensor | None:
        """The mask of the plan's part `number`, in the dtype and on the device of `like`."""
        key = number, heads
        if key not in self._made:
            self._made[key] = self._make(self.plan.parts[number], heads, like)
        return self._made[key]

    def _make(self, part: Part, heads: int, like: torch.Tensor) -> torch.Tensor | None:
        visible = part.visible()
        if self.plain and visible.all():
            return None
        seen = torch.as_tensor(visible, device=like.device)
        if not self.plain:
            queries, keys = (
                torch.as_tensor(places, device=like.device) for places in part.places()
            )
            seen = seen & self._rule(0, 0, queries[:, :, None], keys[:, None, :])
        hidden = ~seen[:, None, None].expand(-1, -1, heads, -1, -1).flatten(2, 3)
        return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(
            hidden, float("-inf")
        )


def masks(*, mask_function: Rule, **_: Any) -> Any:
    """In place of a mask: the rule, with the plan of the pass under way."""
    return Masks(_running.get(), mask_function)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed queries `[1, H, N, D]` to the slab `[1, Hkv, T, D]`: `[1, N, H, D]`."""
    shown: Masks = attention_mask
    heads, shared = query.shape[1], query.shape[1] // key.shape[1]
    plain = softcap is None and s_aux is None
    outputs: list[torch.Tensor] = []
    for number, part in enumerate(shown.plan.parts):
        rows, length = part.rows, part.queries
        queries: Any = query if len(shown.plan.parts) == 1 else query[:, :, part.first : part.last]
        if part.pad is not None:
            queries = queries.index_select(2, part.pad)
        if rows > 1:
            queries = queries[0].unflatten(1, (rows, length)).transpose(0, 1)
        keys, values = cut(key, part), cut(value, part)
        if part.causal and shown.plain and plain:
            out = scaled_dot_product_attention(
                queries, keys, values, is_causal=True, scale=scaling, enable_gqa=shared > 1
            )
        else:
            # The query heads of one key head become queries of it: keys are not repeated.
            folded = queries.reshape(rows, -1, shared * length, queries.shape[-1])
            mask = shown.of(number, shared, query)
            if plain:
                out = scaled_dot_product_attention(
                    folded, keys, values, attn_mask=mask, scale=scaling
                )
            else:
                out = _by_hand(folded, keys, values, mask, scaling, softcap, s_aux)
            out = out.reshape(rows, heads, length, -1)
        out = out.transpose(1, 2)
        if rows > 1:
            out = out.reshape(1, rows * length, heads, -1)
        outputs.append(out if part.unpad is None else out.index_select(1, part.unpad))
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), None


def cut(states: torch.Tensor, part: Part) -> torch.Tensor:
    """The part's rows of the slab `[1, H, T, D]`, without a copy: `[B, H, S, D]`."""
    _, heads, _, width = states.shape
    _, head, token, one = states.stride()
    return states.as_strided(
        (part.rows, heads, part.keys, width),
        (part.stride * token, head, token, one),
        states.storage_offset() + part.start * token,
    )


def _by_hand(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention with capped scores (Gemma 2) or a sink for each head (GPT-OSS), in float32."""
    scale = queries.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(queries, keys.transpose(2, 3)) * scale
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    if sinks is None:
        return torch.matmul(scores.softmax(-1).to(values.dtype), values)
    heads, rows = keys.shape[1], queries.shape[2]
    shared = len(sinks) // heads
    sink = sinks.to(scores).view(1, heads, shared, 1).expand(len(scores), -1, -1, rows // shared)
    sink = sink.reshape(len(scores), heads, rows, 1)
    weights = torch.cat([scores, sink], dim=-1).softmax(-1)[..., :-1]
    return torch.matmul(weights.to(values.dtype), values)


#: The plan of the pass under way; nothing that the mask function is given could name it.
_running: ContextVar[Plan] = ContextVar("plan")


@contextmanager
def packed(configs: list[Any], plan: Plan) -> Generator[None]:
    """The models of `configs` run with our attention on `plan`, afterwards with their own again."""
    own = [config._attn_implementation for config in configs]
    token = _running.set(plan)
    for config in configs:
        config._attn_implementation = NAME
    try:
        yield
    finally:
        _running.reset(token)
        for config, name in zip(configs, own, strict=True):
            config._attn_implementation = name


def configs_of(model: PreTrainedModel) -> list[Any]:
    """The configs that name the attention of the model's layers, each once."""
    found = {
        id(config): config
        for module in model.modules()
        if hasattr(config := getattr(module, "config", None), "_attn_implementation")
    }
    return list(found.values())


cast(Any, AttentionInterface).register(NAME, attend)
cast(Any, AttentionMaskInterface).register(NAME, masks)
