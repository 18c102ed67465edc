"""The event loop's side of generation: who is open, how many may be, what came of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from tascel.decode.schedule import Event
from tascel.runner import Runner
from tascel.serve.errors import ApiError, as_api_error
from tascel.serve.limits import Limits
from tascel.serve.metrics import Metrics
from tascel.serve.worker import Worker
from tascel.types import Chunk, Completion, Request

#: Prompts that are rendered, tokenised and whose grammars are compiled at the same time.
_PREPARERS = 2


@dataclass(slots=True)
class News:
    """What is new of one answer since it was last asked for."""

    chunks: list[Chunk] = field(default_factory=list[Chunk])
    completion: Completion | None = None

    def add(self, chunks: Sequence[Chunk], completion: Completion | None) -> None:
        """Join what came later."""
        self.chunks += chunks
        self.completion = completion


class Answers:
    """The answers to one call of `tenant`. What its reader has not taken yet is joined: no more is
    kept than the answers themselves."""

    def __init__(self, requests: Sequence[Request], now: float, tenant: str | None = None) -> None:
        self.requests, self.arrived, self.tenant = requests, now, tenant
        self._places = {request.id: at for at, request in enumerate(requests)}
        self._pending = len(requests)
        self._news: dict[int, News] = {}
        self._error: ApiError | None = None
        self._wake = asyncio.Event()

    def hear(self, event: Event) -> None:
        """Take in an event of one of the requests."""
        news = self._news.setdefault(self._places[event.request.id], News())
        news.add(event.chunks, event.completion)
        self._pending -= event.completion is not None
        if event.error is not None:
            self.fail(as_api_error(event.error))
        self._wake.set()

    def fail(self, error: ApiError) -> None:
        """End all of them."""
        self._error = error
        self._wake.set()

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> dict[int, News]:
        """What is new, by place; waits for it.

        Raises:
            ApiError: one of the answers cannot be completed.
        """
        while not self._news and self._error is None:
            if not self._pending:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        if self._error is not None:
            raise self._error
        news, self._news = self._news, {}
        return news


class Service:
    """Takes requests while there is room and hands them to the worker.

    Belongs to the event loop it was started in; only `_hear_soon` is called from another thread.
    """

    def __init__(self, runner: Runner, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics, self.draining = limits, metrics, False
        self.worker = Worker(runner.scheduler(limits.rows), self._hear_soon)
        self._open: dict[str, Answers] = {}
        self._started: set[str] = set()
        self._preparing: Counter[str | None] = Counter()
        self._ended = False
        self._pool = ThreadPoolExecutor(_PREPARERS, "tascel-prepare")
        self._loop: asyncio.AbstractEventLoop | None = None
        metrics.watch("tascel_running", "Answers that have a row.", lambda: self.worker.running)
        metrics.watch("tascel_waiting", "Answers in the queue.", lambda: self.waiting)

    @property
    def waiting(self) -> int:
        """Answers that have no row yet."""
        return max(0, self._preparing.total() + len(self._open) - self.worker.running)

    @property
    def status(self) -> Literal["ok", "draining", "failed"]:
        """Whether requests are taken."""
        if not self.worker.alive:
            return "failed"
        return "draining" if self.draining else "ok"

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._open and not self._preparing.total()

    def start(self) -> None:
        """Start the worker; call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self.worker.start()

    async def stop(self) -> None:
        """Give up what is open and end the worker."""
        self.give_up()
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.worker.stop)

    def give_up(self) -> None:
        """End everything that is open, with an error for its reader."""
        self.draining = self._ended = True
        for answers in set(self._open.values()):
            answers.fail(_shutting_down())

    @asynccontextmanager
    async def answers(
        self, count: int, prepare: Callable[[], Sequence[Request]], tenant: str | None = None
    ) -> AsyncGenerator[Answers]:
        """The answers to `count` requests that `prepare` makes, in another thread. What is still
        under way when the reader leaves is cancelled. Each tenant has all the room for its own.

        Raises:
            ApiError: there is no room, the server is about to end, or the time is over; also
                whatever `prepare` raises.
        """
        self._reserve(count, tenant)
        arrived = _now()
        requests: Sequence[Request] = ()
        try:
            async with asyncio.timeout(self.limits.seconds):
                requests = await self._prepared(count, prepare, tenant)
                answers = Answers(requests, arrived, tenant)
                for request in requests:
                    self._open[request.id] = answers
                    self.worker.submit(request)
                yield answers
        except TimeoutError:
            raise ApiError(
                504, f"Not done after {self.limits.seconds:g} seconds.", code="timeout"
            ) from None
        finally:
            for request in requests:
                if self._close(request.id):
                    self.worker.cancel(request.id)
                    self.metrics.ended(request, "cancelled")

    async def _prepared(
        self, count: int, prepare: Callable[[], Sequence[Request]], tenant: str | None
    ) -> Sequence[Request]:
        loop = asyncio.get_running_loop()
        try:
            requests = await loop.run_in_executor(self._pool, prepare)
        finally:
            self._preparing[tenant] -= count
        if self._ended:
            raise _shutting_down()
        return requests

    def _reserve(self, count: int, tenant: str | None) -> None:
        if self.draining:
            raise _shutting_down()
        if not self.worker.alive:
            raise ApiError(503, "The model does not run any more.", code="engine_dead")
        theirs = sum(answers.tenant == tenant for answers in self._open.values())
        taken, room = self._preparing[tenant] + theirs, self.limits.rows + self.limits.queue
        if taken + count > room:
            raise ApiError(
                429,
                f"{taken} answers are under way or waiting, at most {room} may be. Try again soon.",
                code="queue_full",
                headers={"Retry-After": "1"},
            )
        self._preparing[tenant] += count

    def _hear_soon(self, events: Sequence[Event]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._hear, events)

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            request = event.request
            answers = self._open.get(request.id)
            if answers is None:  # cancelled while the pass ran
                continue
            if event.chunks and request.id not in self._started:
                self._started.add(request.id)
                self.metrics.first_token(_now() - answers.arrived)
            if event.completion is not None:
                self._close(request.id)
                self.metrics.finished(request, event.completion, _now() - answers.arrived)
            elif event.error is not None:
                self._close(request.id)
                self.metrics.ended(request, "error")
            answers.hear(event)

    def _close(self, request_id: str) -> bool:
        """Whether the request was open; now it is not."""
        self._started.discard(request_id)
        return self._open.pop(request_id, None) is not None


def _now() -> float:
    return asyncio.get_running_loop().time()


def _shutting_down() -> ApiError:
    return ApiError(503, "The server is about to end.", code="shutting_down")
