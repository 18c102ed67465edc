"""From what both kinds of completion share to requests of the decode loop."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import time
from typing import TypeVar

from tascel.grammar import Grammars
from tascel.runner import Runner
from tascel.serve.errors import ApiError
from tascel.serve.limits import Limits
from tascel.serve.schema import Asked, Part
from tascel.token_bytes import TokenBytes
from tascel.tools import CallFormat
from tascel.types import Grammar, Ids, Request, Sampling

T = TypeVar("T")
#: Keeps the seeds of `n` choices apart; the first has the request's own.
_STRIDE = 0x9E3779B97F4A7C15


@dataclass(frozen=True, eq=False)
class Served:
    """A model and the terms on which it is served.

    Attributes:
        name: what clients call it.
        temperature: of requests that name none.
        page: whether there is a page at `/`.
        samples: whether whoever may ask may also see some prompts that the bundle was learned from.
        created: when serving began, in seconds since 1970.
    """

    runner: Runner
    name: str
    limits: Limits = field(default_factory=Limits)
    temperature: float = 0.0
    page: bool = True
    samples: bool = True
    created: int = field(default_factory=lambda: int(time()))

    @cached_property
    def bytes_of(self) -> TokenBytes:
        """The bytes of each token."""
        return TokenBytes(self.runner.codec.tokenizer)

    @cached_property
    def grammars(self) -> Grammars:
        """Makes constraints; reads the vocabulary on first use. RequestError: it cannot."""
        return Grammars(self.runner.codec, self.runner.engine.eos_ids)

    @cached_property
    def calls(self) -> CallFormat:
        """How the model writes tool calls. RequestError: not in a way that can be read."""
        return CallFormat.of(self.runner.codec)


def count(asked: Asked, prompts: int, served: Served) -> int:
    """How many answers are asked for.

    Raises:
        ApiError: another model is asked for, or more answers than allowed.
    """
    if asked.model not in (None, served.name):
        raise unknown_model(asked.model or "", served)
    wanted, most = prompts * asked.choices, served.limits.choices
    if wanted > most:
        raise ApiError(
            400, f"Asked for {wanted} answers; a call may have at most {most}.", param="n"
        )
    return wanted


def requests(
    call_id: str,
    asked: Asked,
    prompts: Sequence[Ids],
    served: Served,
    *,
    tenant: str | None,
    max_tokens: int | None,
    logprobs: int | None,
    grammar: Grammar | None,
) -> list[Request]:
    """`n` requests for each prompt, in order.

    Raises:
        ApiError: more tokens are asked for than allowed, a prompt does not fit, or a bias is on no
            id of the vocabulary.
    """
    most = served.limits.tokens
    if max_tokens is not None and max_tokens > most:
        raise ApiError(
            400,
            f"Asked for {max_tokens} tokens; this server writes at most {most}.",
            param="max_tokens",
        )
    expected = "" if asked.prediction is None else text_of(asked.prediction.content)
    prediction = served.runner.codec.output(expected) if expected else None
    seed = secrets.randbits(63) if asked.seed is None else asked.seed
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    made: list[Request] = []
    for prompt in prompts:
        room = _room(prompt, served)
        for choice in range(asked.choices):
            made.append(
                Request(
                    id=f"{call_id}-{len(made)}",
                    prompt=prompt,
                    sampling=_sampling(asked, served, seed + choice * _STRIDE),
                    stop=tuple(stop),
                    max_tokens=min(most, room) if max_tokens is None else max_tokens,
                    task=asked.task,
                    tenant=tenant,
                    prediction=prediction,
                    grammar=grammar,
                    logprobs=logprobs,
                    drafts=asked.extras.drafts,
                )
            )
    return made


def unknown_model(model: str, served: Served) -> ApiError:
    """404, as OpenAI says it."""
    return ApiError(
        404,
        f"The model `{model[:200]}` is not served here; `{served.name}` is.",
        param="model",
        code="model_not_found",
    )


def text_of(content: str | Sequence[Part]) -> str:
    """The text of a content in either form."""
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _room(prompt: Ids, served: Served) -> int:
    """How many tokens an answer to `prompt` may have, at least one."""
    engine, most = served.runner.engine, served.limits.prompt
    longest = min(engine.context_limit, engine.cache_tokens)
    most = longest - 1 if most is None else min(most, longest - 1)
    if len(prompt) > most:
        raise ApiError(
            400,
            f"The prompt has {len(prompt)} tokens; this server reads at most {most}.",
            code="context_length_exceeded",
        )
    return longest - len(prompt)


def _sampling(asked: Asked, served: Served, seed: int) -> Sampling:
    bias = {int(id_): value for id_, value in (asked.logit_bias or {}).items()}
    vocabulary = served.runner.engine.vocab_size
    if any(id_ >= vocabulary for id_ in bias):
        raise ApiError(400, f"The model knows only ids below {vocabulary}.", param="logit_bias")
    return Sampling(
        temperature=_or(asked.temperature, served.temperature),
        top_k=max(0, _or(asked.top_k, 0)),
        top_p=_or(asked.top_p, 1.0),
        min_p=_or(asked.min_p, 0.0),
        repetition_penalty=_or(asked.repetition_penalty, 1.0),
        presence_penalty=_or(asked.presence_penalty, 0.0),
        frequency_penalty=_or(asked.frequency_penalty, 0.0),
        logit_bias=tuple(sorted(bias.items())),
        seed=seed % 2**64,
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
