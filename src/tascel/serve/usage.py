"""What a call cost: OpenAI's usage, and ours on request."""

from __future__ import annotations

from collections.abc import Sequence

from tascel.serve.replies import (
    CompletionDetails,
    Drafted,
    ExtrasReply,
    PromptDetails,
    Usage,
    Written,
)
from tascel.serve.schema import Extras
from tascel.types import Chunk, Completion, Request


def usage(requests: Sequence[Request], n: int, completions: Sequence[Completion]) -> Usage:
    """Tokens of a call. A prompt with `n` answers counts once, as the first of them read it."""
    prompt = sum(len(request.prompt) for request in requests[::n])
    written = sum(len(completion.tokens) for completion in completions)
    offered = sum(c.stats.offered.get("prediction", 0) for c in completions)
    accepted = sum(c.stats.accepted.get("prediction", 0) for c in completions)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=written,
        total_tokens=prompt + written,
        prompt_tokens_details=PromptDetails(
            cached_tokens=sum(completion.stats.shared for completion in completions[::n])
        ),
        completion_tokens_details=CompletionDetails(
            accepted_prediction_tokens=accepted, rejected_prediction_tokens=offered - accepted
        ),
    )


def extras(
    asked: Extras, chunks: Sequence[Chunk], completion: Completion | None
) -> ExtrasReply | None:
    """What a choice says beyond OpenAI's shape, of its new chunks and of its end; None if
    nothing."""
    told = ExtrasReply()
    if asked.tokens and chunks:
        told.written = [Written(text=c.text, source=c.source, step=c.step) for c in chunks]
    if asked.stats and completion is not None:
        cost = completion.stats
        told.steps, told.tokens = cost.steps, len(completion.tokens)
        told.prefill_seconds, told.decode_seconds = cost.prefill_seconds, cost.decode_seconds
        told.drafted = {
            source: Drafted(offered=offered, accepted=cost.accepted.get(source, 0))
            for source, offered in cost.offered.items()
        }
    return told if told.model_fields_set else None
