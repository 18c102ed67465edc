"""How a call is answered over HTTP: at once or as server-sent events, for as long as there is
somebody to read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol

from fastapi import Response
from starlette.types import Receive, Scope, Send

from tascel.serve.errors import Gone, as_api_error
from tascel.serve.replies import Usage
from tascel.serve.service import Answers, News, Service
from tascel.serve.usage import usage
from tascel.types import Chunk, Completion, Request


class Call(Protocol):
    """One kind of completion: what it asks for, and how its answers are written."""

    #: How many answers it wants, and how many of them to each prompt.
    count: int
    choices: int
    #: Who asks, where there are tenants.
    tenant: str | None

    def requests(self) -> Sequence[Request]:
        """The requests of the decode loop; takes its time."""
        ...

    def whole(self, answers: Sequence[tuple[Sequence[Chunk], Completion]], used: Usage) -> str:
        """The reply that is not streamed, as JSON."""
        ...

    def events(
        self, at: int, chunks: Sequence[Chunk], completion: Completion | None
    ) -> Iterator[str]:
        """What a stream says about what is new of answer `at`, as JSON."""
        ...

    def usage_event(self, used: Usage) -> str | None:
        """What ends a stream that asked for its usage, as JSON."""
        ...


class Reply(Response):
    """Generates while it is sent. If the client hangs up, generation ends after this pass."""

    def __init__(self, service: Service, call: Call, stream: bool) -> None:
        super().__init__()
        self._service, self._call, self._stream = service, call, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; ASGI's entry point.

        Raises:
            ApiError: the call fails before anything was sent.
        """
        work = self._streamed(send) if self._stream else self._at_once(scope, receive, send)
        with suppress(Gone):
            await _while_there(receive, work)

    def _answers(self) -> AbstractAsyncContextManager[Answers]:
        call = self._call
        return self._service.answers(call.count, call.requests, call.tenant)

    async def _at_once(self, scope: Scope, receive: Receive, send: Send) -> None:
        news: dict[int, News] = {}
        async with self._answers() as answers:
            async for fresh in answers:
                for at, item in fresh.items():
                    news.setdefault(at, News()).add(item.chunks, item.completion)
            whole = [(item.chunks, item.completion) for _, item in sorted(news.items())]
            finished = [(chunks, done) for chunks, done in whole if done is not None]
            used = usage(answers.requests, self._call.choices, [done for _, done in finished])
            body = self._call.whole(finished, used)
        await Response(body, media_type="application/json")(scope, receive, send)

    async def _streamed(self, send: Send) -> None:
        completions: dict[int, Completion] = {}
        begun = False
        try:
            async with self._answers() as answers:
                async for fresh in answers:
                    lines: list[str] = []
                    for at, item in sorted(fresh.items()):
                        lines += self._call.events(at, item.chunks, item.completion)
                        if item.completion is not None:
                            completions[at] = item.completion
                    if not lines:  # nothing is certain yet
                        continue
                    if not begun:
                        await send({"type": "http.response.start", "status": 200, "headers": _SSE})
                        begun = True
                    await self._put(send, lines)
            done = [completion for _, completion in sorted(completions.items())]
            last = self._call.usage_event(usage(answers.requests, self._call.choices, done))
            lines = [last, "[DONE]"] if last else ["[DONE]"]
        except Gone:
            raise
        except Exception as error:
            if not begun:
                raise
            lines = [as_api_error(error).body]
        await self._put(send, lines, more=False)

    async def _put(self, send: Send, lines: Sequence[str], more: bool = True) -> None:
        """Send events; waits while the reader's buffer is full, but not for ever."""
        body = "".join(f"data: {line}\n\n" for line in lines).encode()
        try:
            async with asyncio.timeout(self._service.limits.stall):
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            raise Gone from None


_SSE = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def _while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; cancel it and raise Gone if the client hangs up."""
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise Gone
        tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
