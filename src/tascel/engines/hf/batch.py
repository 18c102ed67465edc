"""The model's own answers to many prompts at once, by stock `generate`."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel

from tascel.engines.hf.condition import Conditioned, Conditioner
from tascel.engines.hf.traits import read_traits
from tascel.types import Ids

#: Batches that are sorted by length together: little padding, and an order still near the given.
WINDOW = 16


def answers(
    model: PreTrainedModel,
    prompts: Sequence[Ids],
    eos_ids: Collection[int],
    pad_id: int,
    max_tokens: int,
    batch: int,
    conditioner: Conditioner | None = None,
) -> Iterator[tuple[int, Ids]]:
    """Greedy answers, `batch` prompts at a time: yields (index of the prompt, ids i32[m]).

    The ids include the one that ended the answer. A prompt that is empty or leaves no room in the
    context has an empty answer. Within a window the order is by length, not as given. Prompts are
    fed as `conditioner` says, if there is one.
    """
    limit = read_traits(model).context_limit
    for start in range(0, len(prompts), WINDOW * batch):
        window = range(start, min(start + WINDOW * batch, len(prompts)))
        fitting = [i for i in window if 0 < len(prompts[i]) < limit]
        yield from ((i, np.zeros(0, np.int32)) for i in sorted({*window} - {*fitting}))
        roomy = [i for i in fitting if len(prompts[i]) + max_tokens <= limit]
        roomy.sort(key=lambda i: len(prompts[i]))
        groups = [roomy[at : at + batch] for at in range(0, len(roomy), batch)]
        # Near the context's end alone, so that no answer is cut short for another's sake.
        groups += [[i] for i in fitting if len(prompts[i]) + max_tokens > limit]
        for group in groups:
            room = min(max_tokens, limit - len(prompts[group[-1]]))
            chosen = [prompts[i] for i in group]
            written = _generate(model, chosen, eos_ids, pad_id, room, conditioner)
            yield from zip(group, written, strict=True)


@contextmanager
def greedy(model: Any, **settings: Any) -> Generator[None]:
    """Stock `generate` of `model` is greedy with these settings and no others.

    The checkpoint's sampling settings would leak into any config passed as an argument.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig(do_sample=False, **settings)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.generation_config = own


def asked(
    model: Any, prompts: Sequence[Ids], pad_id: int, conditioner: Conditioner | None = None
) -> tuple[dict[str, torch.Tensor], int]:
    """How stock `generate` is asked: its inputs, padded on the left, and how many tokens of what it
    returns are theirs."""
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.as_tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    if conditioner is None:
        return {"inputs": ids, "attention_mask": mask}, longest
    conditioned = Conditioned(model, conditioner)
    with torch.inference_mode():
        fed = model.get_input_embeddings()(ids).clone()
        for row, own in enumerate(conditioned.fed(prompts)):
            fed[row, longest - len(own) :] = own
    return {"inputs_embeds": fed, "attention_mask": mask}, 0


def _generate(
    model: Any,
    prompts: Sequence[Ids],
    eos_ids: Collection[int],
    pad_id: int,
    room: int,
    conditioner: Conditioner | None,
) -> list[Ids]:
    """One batch; answers are cut behind their end id."""
    inputs, before = asked(model, prompts, pad_id, conditioner)
    with greedy(model, max_new_tokens=room, eos_token_id=sorted(eos_ids), pad_token_id=pad_id):
        out = model.generate(**inputs)
    written: list[list[int]] = out[:, before:].tolist()
    ends = [next((n + 1 for n, i in enumerate(a) if i in eos_ids), len(a)) for a in written]
    return [np.array(a[:end], np.int32) for a, end in zip(written, ends, strict=True)]
