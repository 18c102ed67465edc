"""Sampling of vLLM 0.32 on a CPU, put right (its issue 55005).

There, with any speculation, temperature, top-k and top-p of drafted positions are memory that
nobody has written: sampled answers come from another distribution. Greedy ones are not touched.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast


def repair_sampling() -> None:
    """See that each drafted position is sampled with its request's settings, on a CPU."""
    import torch

    sampler = cast(Any, import_module("vllm.v1.sample.rejection_sampler"))
    settings, ends = torch.tensor([0.375, 0.625]), torch.tensor([1, 3], dtype=torch.int32)
    if sampler.expand_batch_to_tokens(settings, ends, 3).tolist() != [0.375, 0.625, 0.625]:
        sampler.expand_batch_to_tokens = _expand


def _expand(
    x: Any, cu_num_tokens: Any, num_tokens: int, replace_from: int = 0, replace_to: int = 0
) -> Any:
    """Each request's setting `x` [B] at all its positions [num_tokens], which end at
    `cu_num_tokens` i32[B]; `replace_from` becomes `replace_to`."""
    import torch

    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1)).long()
    expanded = torch.repeat_interleave(x, counts, output_size=num_tokens)
    return expanded.masked_fill(expanded == replace_from, replace_to)
