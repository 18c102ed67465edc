"""Our loop as a way to decode for `generate` of transformers.

Knows what `generate` has prepared when it calls a `custom_generate`, and what of it to refuse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.streamers import BaseStreamer
from transformers.generation.utils import GenerateDecoderOnlyOutput

from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.answer import Answer
from tascel.decode.loop import Loop
from tascel.decode.schedule import Scheduler
from tascel.decode.stop import Detokenizer, Stopper
from tascel.draft.ngram import DraftConfig
from tascel.engines.hf.criteria import CriteriaStopper
from tascel.engines.hf.open import opened as running
from tascel.engines.hf.processors import HfProcessors, fresh
from tascel.errors import ModelError, RequestError
from tascel.loading import attach
from tascel.types import Completion, Processor, Request, Sampling

#: Of what `generate` hands on, all that we look at or need not.
_KNOWN = ("attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep",
          "output_attentions", "output_hidden_states")  # fmt: skip
_OUTPUTS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")


class Drafts:
    """A bundle's drafts for a model in memory: `model.generate(…, custom_generate=drafts)`.

    Opens the bundle, measures what a pass costs (once: it is kept in a file), and keeps from call
    to call what the drafts have learned. For one thread at a time.

    Attributes:
        answers: those of the last call by row: who drafted which token, and what it cost.

    Raises:
        BundleError: the bundle is damaged or belongs to another tokenizer.
        ModelError: the model cannot take rejected tokens back, or is an encoder-decoder.
    """

    def __init__(
        self,
        bundle: str | Path,
        model: PreTrainedModel,
        tokenizer: Any,
        config: DraftConfig | None = None,
    ) -> None:
        base: PreTrainedModel = getattr(model, "get_base_model", lambda: model)()  # a PEFT model's
        codec = Codec.from_tokenizer(tokenizer, base.generation_config)
        opened = Bundle.open(bundle, codec)
        self.runner = attach(
            running(base, name=type(base).__name__, weights=_structure(base)),
            codec,
            opened,
            config=config,
        )
        self.answers: tuple[Completion, ...] = ()
        # transformers takes a third of a second to make one of a vocabulary of 50,000
        self._ending_at = lru_cache(maxsize=16)(partial(StopStringCriteria, tokenizer))

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        tascel_streamer: BaseStreamer | None = None,
        tascel_stop: str | Sequence[str] = (),
        **model_kwargs: Any,
    ) -> Tensor | GenerateDecoderOnlyOutput:
        """What `generate` calls; returns what it returns: ids i64[B, n] of prompts and answers.

        `tascel_streamer` and `tascel_stop` do what `streamer` and `stop_strings` do elsewhere:
        `generate` keeps those from us. Processors and stopping criteria are asked once for each
        token that is really written.

        Raises:
            ModelError: another model than the drafts were opened for.
            RequestError: something was asked that we do not do; it is named.
        """
        if model is not self.runner.model:
            raise ModelError(
                f"these drafts were opened for another {type(self.runner.model).__name__}",
                "Make Drafts of this one",
            )
        config, streamer = cast(Any, generation_config), cast(Any, tascel_streamer)
        _refuse(model, config, input_ids, model_kwargs)
        if streamer is not None and len(input_ids) > 1:
            raise RequestError("a streamer follows one row", "Stream one prompt at a time")
        criteria = list[StoppingCriteria](stopping_criteria)
        if tascel_stop:
            strings = [tascel_stop] if isinstance(tascel_stop, str) else tascel_stop
            criteria.append(self._ending_at(tuple(strings)))
        padding = _padding(input_ids, model_kwargs.get("attention_mask"))
        rows = _rows(input_ids, padding, logits_processor, criteria, bool(config.do_sample))
        if streamer is not None:
            streamer.put(input_ids.cpu())
        self._answer(rows, streamer)
        if streamer is not None:
            streamer.end()
        sequences = _joined(input_ids, self.answers, config)
        if config.return_dict_in_generate:
            return GenerateDecoderOnlyOutput(sequences=cast(Any, sequences))
        return sequences

    def _answer(self, rows: Sequence[_Row], streamer: Any) -> None:
        """Decode all rows in batches; fills `answers`."""
        runner = self.runner
        endings = {row.request.id: row.ending for row in rows}
        loop = _Loop(runner.engine, runner.draft, runner.price, runner.breaker, endings=endings)
        scheduler = Scheduler(loop, runner.codec.stream, len(rows))
        done: dict[str, Completion] = {}
        try:
            for row in rows:
                scheduler.add(row.request)
            while scheduler.waiting or scheduler.running:
                for event in scheduler.step():
                    if event.error is not None:
                        raise event.error
                    if streamer is not None:
                        for chunk in event.chunks:
                            streamer.put(torch.tensor([chunk.token]))
                    if event.completion is not None:
                        done[event.request.id] = event.completion
        finally:
            scheduler.clear()
            runner.engine.forget()  # before the next call the model may have been trained
        self.answers = tuple(done[row.request.id] for row in rows)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the batch. `ending` makes what ends it, of its limit and detokenizer."""

    request: Request
    ending: Callable[[int, Detokenizer], Stopper]


@dataclass(frozen=True, slots=True)
class _Loop(Loop):
    """The loop, with answers that end as `generate` asked; `endings` by request."""

    endings: Mapping[str, Callable[[int, Detokenizer], Stopper]] = field(kw_only=True)

    def start(self, request: Request, detokenizer: Detokenizer) -> Answer:
        answer = Loop.start(self, request, detokenizer)
        answer.stopper = self.endings[request.id](answer.limit, detokenizer)
        return answer


def _rows(
    input_ids: Tensor,
    padding: Sequence[int],
    processors: Sequence[Any],
    criteria: Sequence[StoppingCriteria],
    sampled: bool,
) -> list[_Row]:
    """Each row of `input_ids` i64[B, n] as a request, with processors and criteria of its own."""
    count, width = input_ids.shape
    lengths = [c.max_length for c in criteria if isinstance(c, MaxLengthCriteria)]
    asked = [c for c in criteria if not isinstance(c, MaxLengthCriteria)]
    # A single row keeps what it was given, as in `generate`; several need a state each.
    own: Callable[[Sequence[Any]], list[Any]] = fresh if count > 1 else list[Any]
    seeds = _listed(torch.randint(1 << 62, (count,))) if sampled else [None] * count
    rows: list[_Row] = []
    for row, (ids, before, seed) in enumerate(zip(input_ids, padding, seeds, strict=True)):
        process = HfProcessors(own(processors), ids.device, _listed(ids[:before]), row, count)
        request = Request(
            f"row {row}",
            ids[before:].cpu().numpy().astype(np.int32),
            Sampling(temperature=1.0 if sampled else 0.0, seed=seed),
            max_tokens=max(1, min(lengths) - width),
            processors=partial(list[Processor], [process]) if processors else None,
        )
        rows.append(_Row(request, partial(CriteriaStopper, own(asked), ids, row, count)))
    return rows


def _refuse(model: Any, config: Any, input_ids: Tensor, inputs: Mapping[str, Any]) -> None:
    """Say by name what was asked of `generate` and is not done here."""
    prepare = getattr(model.prepare_inputs_for_generation, "__func__", None)
    mode = config.get_generation_mode()
    cache = config.cache_implementation
    outputs = [n for n in _OUTPUTS if config.return_dict_in_generate and getattr(config, n)]
    strange = [n for n, value in inputs.items() if value is not None and n not in _KNOWN]
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    asked = {
        mode.value: mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE),
        f"cache_implementation={cache!r}": cache not in (None, "dynamic"),
        "past_key_values": getattr(inputs.get("past_key_values"), "_is_user_defined", False),
        "position_ids": not _usual(inputs.get("position_ids"), input_ids, inputs),
        "prompt tuning": prepare is not cast(Any, type(model)).prepare_inputs_for_generation,
        "a model spread over processes": spread and torch.distributed.get_world_size() > 1,
        " and ".join([*outputs, *strange]): bool(outputs or strange),
    }
    for what, given in asked.items():
        if given:
            raise RequestError(
                f"{what} cannot be had with tascel's drafts",
                "Leave it out, or call generate without custom_generate",
            )


def _usual(positions: Tensor | None, input_ids: Tensor, inputs: Mapping[str, Any]) -> bool:
    """Whether the positions are those that `generate` itself gives to tokens."""
    mask = inputs.get("attention_mask")
    usual = torch.ones_like(input_ids) if mask is None else mask
    return positions is None or (
        positions.ndim == 2
        and positions.shape[1] == input_ids.shape[1]
        and bool(((positions == usual.cumsum(-1) - 1) | (usual == 0)).all())
    )


def _padding(input_ids: Tensor, mask: Tensor | None) -> list[int]:
    """How many ids of padding stand before each row."""
    if mask is None:
        return [0] * len(input_ids)
    if mask.shape != input_ids.shape or bool((mask.int().diff(dim=1) < 0).any()):
        raise RequestError(
            "the attention mask hides more than padding on the left",
            "Set tokenizer.padding_side to 'left'",
        )
    return _listed((mask == 0).sum(1))


def _joined(input_ids: Tensor, answers: Sequence[Completion], config: Any) -> Tensor:
    """Prompts and answers, the shorter ones padded on the right as `generate` does: i64[B, n]."""
    pad: Tensor | None = config._pad_token_tensor  # as generate's own loops take it
    lengths = [len(answer.tokens) for answer in answers]
    if pad is None and min(lengths) < max(lengths):
        raise RequestError("the answers differ in length", "Name a pad_token_id")
    shape = (len(answers), max(lengths))
    written = torch.full(shape, 0 if pad is None else int(pad), dtype=input_ids.dtype)
    for row, answer in enumerate(answers):
        written[row, : lengths[row]] = torch.tensor(answer.tokens)
    return torch.cat([input_ids, written.to(input_ids.device)], dim=1)


def _structure(model: PreTrainedModel) -> str:
    """A digest of all that a pass's cost depends on: its layers, not what they have learned."""
    parts = [(name, tuple(p.shape), str(p.dtype)) for name, p in model.named_parameters()]
    attention = cast(Any, model.config)._attn_implementation
    return hashlib.sha256(repr([attention, *parts]).encode()).hexdigest()


def _listed(tensor: Tensor) -> list[int]:
    return cast(list[int], tensor.tolist())  # pyright: ignore[reportUnknownMemberType]
