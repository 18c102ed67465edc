"""A text completion request as requests of the decode loop, and their answers in OpenAI's shape."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from time import time

import numpy as np

from tascel.serve import ask
from tascel.serve.ask import Served
from tascel.serve.constraint import constraint
from tascel.serve.replies import TextChoice, TextCompletion, Usage
from tascel.serve.schema import TextRequest
from tascel.serve.tokens import text_logprobs
from tascel.serve.usage import extras
from tascel.types import Chunk, Completion, Ids, Request


class Text:
    """One call of `/v1/completions`."""

    def __init__(self, body: TextRequest, served: Served, tenant: str | None = None) -> None:
        self._prompts = body.prompts()
        self.count, self.choices = ask.count(body, len(self._prompts), served), body.choices
        self._id, self._created = f"cmpl-{secrets.token_hex(12)}", int(time())
        self._body, self._served, self.tenant = body, served, tenant
        self._offsets = [0] * self.count

    def requests(self) -> list[Request]:
        """`n` requests a prompt; takes its time.

        Raises:
            ApiError, RequestError: a prompt cannot be answered.
        """
        body = self._body
        return ask.requests(
            self._id,
            body,
            [self._encoded(prompt) for prompt in self._prompts],
            self._served,
            tenant=self.tenant,
            max_tokens=body.max_tokens,
            logprobs=body.logprobs,
            grammar=constraint(body, self._served),
        )

    def whole(self, answers: Sequence[tuple[Sequence[Chunk], Completion]], used: Usage) -> str:
        """The reply that is not streamed, as JSON."""
        choices = [self._choice(at, *answer) for at, answer in enumerate(answers)]
        return self._reply(choices, used)

    def events(
        self, at: int, chunks: Sequence[Chunk], completion: Completion | None
    ) -> Iterator[str]:
        """What a stream says about what is new of choice `at`, as JSON."""
        choice = self._choice(at, chunks, completion)
        more = choice.tascel or (choice.logprobs and choice.logprobs.tokens)
        if choice.text or choice.finish_reason or more:
            yield self._reply([choice])

    def usage_event(self, used: Usage) -> str | None:
        """What ends a stream that asked for its usage, as JSON."""
        return self._reply([], used) if self._body.wants_usage else None

    def _encoded(self, prompt: str | list[int]) -> Ids:
        if isinstance(prompt, str):
            prompt = self._served.runner.codec.tokenizer.encode(prompt).ids
        return np.asarray(prompt, np.int32)

    def _choice(
        self, at: int, chunks: Sequence[Chunk], completion: Completion | None
    ) -> TextChoice:
        text, logprobs = "".join(chunk.text for chunk in chunks), None
        if self._body.logprobs is not None:
            eos_ids = self._served.runner.engine.eos_ids
            logprobs = text_logprobs(chunks, self._served.bytes_of, eos_ids, self._offsets[at])
            self._offsets[at] += len(text)
        reason = None if completion is None else completion.finish_reason
        choice = TextChoice(index=at, text=text, logprobs=logprobs, finish_reason=reason)
        if (told := extras(self._body.extras, chunks, completion)) is not None:
            choice.tascel = told
        return choice

    def _reply(self, choices: list[TextChoice], used: Usage | None = None) -> str:
        reply = TextCompletion(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self._served.name,
            choices=choices,
        )
        if used is not None or self._body.wants_usage:
            reply.usage = used
        return reply.model_dump_json(exclude_unset=True)
