"""Continuous batching: many requests, one pass at a time; rows join and leave between passes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from tascel.decode.answer import Answer, longest_answer
from tascel.decode.engine import common
from tascel.decode.loop import PIECE, Loop
from tascel.decode.stop import Detokenizer
from tascel.errors import RequestError
from tascel.types import Chunk, Completion, Request

#: A request waits for another to read its prompt if that saves this share of its own.
WORTH_WAITING = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """What a pass brought one request: new tokens, and at the end its completion or the error that
    ended it."""

    request: Request
    chunks: tuple[Chunk, ...]
    completion: Completion | None = None
    error: Exception | None = None


class Scheduler:
    """Serves requests in the order they came, at most `rows` at once and only as many as the
    engine's cache holds to their ends, so that none is ever put back. Where several tenants wait,
    the next is of the one that has fewest rows, and among such of the one that was last served
    longest ago: nobody is kept from a row by how much others ask.

    A pass reads at most `piece` prompt tokens, so that a long prompt does not hold up the answers
    under way. Belongs to one thread.
    """

    def __init__(
        self,
        loop: Loop,
        detokenizer: Callable[[], Detokenizer],
        rows: int = 16,
        piece: int = PIECE,
    ) -> None:
        if rows < 1 or piece < 1:
            raise RequestError(f"{rows} rows, pieces of {piece} tokens", "Give at least one each")
        self._loop = loop
        self._detokenizer = detokenizer
        self._rows = rows
        self._piece = piece
        self._waiting: deque[Request] = deque()
        self._running: list[Answer] = []
        self._admitted = 0
        self._served: dict[str | None, int] = {}  # when each tenant last got a row

    @property
    def waiting(self) -> int:
        """Requests that have no row yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that have one."""
        return len(self._running)

    @property
    def queued(self) -> set[str]:
        """The ids of requests that have no row yet."""
        return {request.id for request in self._waiting}

    def add(self, request: Request) -> None:
        """Queue a request. Its id must be no other's that is queued or running.

        Raises:
            RequestError: it could never be served.
        """
        longest_answer(self._loop.engine, request)
        self._waiting.append(request)

    def cancel(self, request_id: str) -> None:
        """Forget a request, queued or running; no event of it follows."""
        for answer in [a for a in self._running if a.request.id == request_id]:
            self._close(answer)
        self._waiting = deque(r for r in self._waiting if r.id != request_id)

    def clear(self) -> list[Request]:
        """Forget all that is running, as after a failed pass; returns whose it was."""
        lost = [answer.request for answer in self._running]
        for answer in [*self._running]:
            self._close(answer)
        return lost

    def step(self) -> list[Event]:
        """Admit who fits, run one pass and say what it brought; nothing when idle."""
        refused = self._admit()
        answers, pieces = self._share()
        if not answers:
            return refused
        fresh = self._loop.step(answers, pieces)
        events = [*refused]
        for answer, chunks in zip(answers, fresh, strict=True):
            if answer.done:
                self._close(answer)
            if answer.done or chunks:
                done = answer.completion() if answer.done and answer.failed is None else None
                events.append(Event(answer.request, tuple(chunks), done, answer.failed))
        return events

    def _admit(self) -> list[Event]:
        """Give rows to those whose turn it is; events of those that cannot start."""
        engine, refused = self._loop.engine, list[Event]()
        while self._waiting and len(self._running) < self._rows:
            request = self._next()
            size = len(request.prompt) + longest_answer(engine, request)
            fits = engine.fits(size)
            if self._being_read(request) or (not fits and self._running):
                break
            self._waiting.remove(request)
            self._admitted += 1
            self._served[request.tenant] = self._admitted
            try:
                if not fits:  # and never will: nobody is left to make room
                    raise RequestError(
                        f"{request.id}: the cache has no room for {size} tokens",
                        "Ask for fewer tokens, or give the cache more",
                    )
                self._running.append(self._loop.start(request, self._detokenizer()))
            except Exception as error:  # whatever it is, it is this request's alone
                refused.append(Event(request, (), error=error))
        return refused

    def _next(self) -> Request:
        """Whose turn it is."""
        first: dict[str | None, Request] = {}
        for request in self._waiting:
            first.setdefault(request.tenant, request)
        if len(first) == 1:
            return self._waiting[0]
        rows = Counter(answer.request.tenant for answer in self._running)
        return first[min(first, key=lambda who: (rows[who], self._served.get(who, 0)))]

    def _being_read(self, request: Request) -> bool:
        """Whether a running row has yet to read much that this prompt begins with, too: then it is
        shared."""
        if not self._loop.engine.prefixes:
            return False
        worth = WORTH_WAITING * len(request.prompt)
        return any(
            common(answer.request.prompt, request.prompt) - answer.read_tokens >= worth
            for answer in self._running
            if len(answer.unread) and answer.request.tenant == request.tenant
        )

    def _share(self) -> tuple[list[Answer], list[int]]:
        """Who takes part in the next pass, and how much each may read: first come first served."""
        answers: list[Answer] = []
        pieces: list[int] = []
        left = self._piece
        for answer in self._running:
            unread = len(answer.unread)
            if unread and not left:
                continue
            answers.append(answer)
            pieces.append(min(unread, left))
            left -= pieces[-1]
        return answers, pieces

    def _close(self, answer: Answer) -> None:
        self._running.remove(answer)
        answer.close(self._loop.engine)
