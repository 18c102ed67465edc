"""A chat request as requests of the decode loop, and their answers in OpenAI's chat shapes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from time import time

from tascel.errors import RequestError
from tascel.serve import ask
from tascel.serve.ask import Served
from tascel.serve.constraint import constraint
from tascel.serve.replies import (
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    ChunkChoice,
    Delta,
    ExtrasReply,
    Usage,
)
from tascel.serve.schema import ChatRequest
from tascel.serve.tokens import chat_logprobs
from tascel.serve.turn import Turn, message
from tascel.serve.usage import extras
from tascel.tools import CallReader
from tascel.traces.record import conversation
from tascel.types import Chunk, Completion, Ids, Request


class Chat:
    """One call of `/v1/chat/completions`."""

    def __init__(self, body: ChatRequest, served: Served, tenant: str | None = None) -> None:
        self.count, self.choices = ask.count(body, 1, served), body.choices
        self._id, self._created = f"chatcmpl-{secrets.token_hex(12)}", int(time())
        self._body, self._served, self.tenant = body, served, tenant
        self._turns: list[Turn] = []
        self._begun: set[int] = set()

    def requests(self) -> list[Request]:
        """One request a choice; takes its time.

        Raises:
            ApiError, RequestError: the conversation cannot be answered.
        """
        body, names = self._body, [tool.function.name for tool in self._body.callable]
        for _ in range(self.count):
            reader = CallReader(self._served.calls, names) if names else None
            self._turns.append(Turn(reader, parallel=body.parallel_tool_calls is not False))
        return ask.requests(
            self._id,
            body,
            [self._prompt()],
            self._served,
            tenant=self.tenant,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            grammar=constraint(body, self._served),
        )

    def whole(self, answers: Sequence[tuple[Sequence[Chunk], Completion]], used: Usage) -> str:
        """The reply that is not streamed, as JSON."""
        choices: list[ChatChoice] = []
        for at, (chunks, completion) in enumerate(answers):
            turn = self._turns[at]
            choice = ChatChoice(
                index=at,
                message=message([*turn.push(completion.text), *turn.end()]),
                logprobs=self._logprobs(chunks),
                finish_reason=turn.finish(completion.finish_reason),
            )
            if (told := extras(self._body.extras, chunks, completion)) is not None:
                choice.tascel = told
            choices.append(choice)
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._served.name,
            choices=choices,
            usage=used,
        ).model_dump_json(exclude_unset=True)

    def events(
        self, at: int, chunks: Sequence[Chunk], completion: Completion | None
    ) -> Iterator[str]:
        """What a stream says about what is new of choice `at`, as JSON."""
        turn = self._turns[at]
        if at not in self._begun:
            self._begun.add(at)
            yield self._event(at, Delta(role="assistant", content=""))
        deltas = turn.push("".join(chunk.text for chunk in chunks))
        if completion is not None:
            deltas += turn.end()
        logprobs = self._logprobs(chunks)
        told = extras(self._body.extras, chunks, None)
        if not deltas and (told or (logprobs is not None and logprobs.content)):
            deltas = [Delta(content="")]
        for delta in deltas:
            yield self._event(at, delta, logprobs, told)
            logprobs = told = None
        if completion is not None:
            told = extras(self._body.extras, (), completion)
            yield self._event(at, Delta(), told=told, completion=completion)

    def usage_event(self, used: Usage) -> str | None:
        """What ends a stream that asked for its usage, as JSON."""
        return self._chunk([], usage=used) if self._body.wants_usage else None

    def _prompt(self) -> Ids:
        # "developer" is OpenAI's newer name; templates know the older one.
        messages = [
            turn.sent | {"role": "system"} if turn.role == "developer" else turn.sent
            for turn in self._body.messages
        ]
        tools = [tool.sent for tool in self._body.callable]
        try:
            return self._served.runner.codec.prompt(conversation(messages), tools or None)
        except RequestError:
            raise
        except Exception as error:  # the template is the model's code; who knows what it raises
            raise RequestError(
                f"the chat template fails on the conversation ({type(error).__name__}: {error})",
                "Check roles, contents and tools against what the model expects",
            ) from error

    def _event(
        self,
        at: int,
        delta: Delta,
        logprobs: ChatLogprobs | None = None,
        told: ExtrasReply | None = None,
        completion: Completion | None = None,
    ) -> str:
        reason = None if completion is None else self._turns[at].finish(completion.finish_reason)
        choice = ChunkChoice(index=at, delta=delta, logprobs=logprobs, finish_reason=reason)
        if told is not None:
            choice.tascel = told
        return self._chunk([choice])

    def _chunk(self, choices: list[ChunkChoice], usage: Usage | None = None) -> str:
        chunk = ChatChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._served.name,
            choices=choices,
        )
        if self._body.wants_usage:
            chunk.usage = usage
        return chunk.model_dump_json(exclude_unset=True)

    def _logprobs(self, chunks: Sequence[Chunk]) -> ChatLogprobs | None:
        if not self._body.logprobs:
            return None
        eos_ids = self._served.runner.engine.eos_ids
        return chat_logprobs(chunks, self._served.bytes_of, eos_ids)
