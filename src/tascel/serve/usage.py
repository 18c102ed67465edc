"""What a call cost: OpenAI's usage, and ours on request."""

from __future__ import annotations

from collections.abc import Sequence

from tascel.serve.replies import CompletionDetails, Drafted, PromptDetails, StatsReply, Usage
from tascel.types import Completion, Request


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


def stats(completion: Completion) -> StatsReply:
    """What one answer cost."""
    cost = completion.stats
    return StatsReply(
        steps=cost.steps,
        prefill_seconds=cost.prefill_seconds,
        decode_seconds=cost.decode_seconds,
        tokens=len(completion.tokens),
        drafted={
            source: Drafted(offered=offered, accepted=cost.accepted.get(source, 0))
            for source, offered in cost.offered.items()
        },
    )
