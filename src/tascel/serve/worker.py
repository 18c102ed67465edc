"""The one thread that owns the scheduler, and with it the model. Knows nothing of HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from tascel.decode.schedule import Event, Scheduler
from tascel.errors import ModelError, TascelError
from tascel.types import Request

_log = logging.getLogger(__name__)

Hear = Callable[[Sequence[Event]], None]


class Worker:
    """Runs passes while there is work, sleeps while there is none.

    `hear` gets the events of each pass, in the worker's thread. Every submitted request ends with
    exactly one event that has a completion or an error, unless it is cancelled. Nothing that a
    request or a pass raises ends the thread.
    """

    def __init__(self, scheduler: Scheduler, hear: Hear) -> None:
        self._scheduler = scheduler
        self._hear = hear
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._open: dict[str, Request] = {}  # in the order they came
        self._thread = Thread(target=self._run, name="tascel-worker", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def running(self) -> int:
        """Requests that have a row."""
        return self._scheduler.running

    @property
    def waiting(self) -> int:
        """Requests that have none yet."""
        return self._scheduler.waiting

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the pass it is in; what is still open is forgotten."""
        self._inbox.put(None)
        self._thread.join()

    def submit(self, request: Request) -> None:
        """Queue a request; from any thread. Its id must be no other open one's."""
        self._inbox.put(lambda: self._add(request))

    def cancel(self, request_id: str) -> None:
        """Forget a request before the next pass; from any thread. Few events may still follow."""
        self._inbox.put(lambda: self._cancel(request_id))

    def _run(self) -> None:
        while True:
            for message in self._messages():
                if message is None:
                    return
                self._guarded(message)
            self._guarded(self._pass)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._give_up(_said(error))

    def _pass(self) -> None:
        self._tell(self._scheduler.step())

    def _messages(self) -> list[Callable[[], None] | None]:
        """What is in the inbox; waits for something if there is nothing else to do."""
        messages = [] if self._open else [self._inbox.get()]
        while True:
            try:
                messages.append(self._inbox.get_nowait())
            except Empty:
                return messages

    def _add(self, request: Request) -> None:
        try:
            self._scheduler.add(request)
        except Exception as error:
            self._tell([Event(request, (), error=_said(error))])
        else:
            self._open[request.id] = request

    def _cancel(self, request_id: str) -> None:
        if self._open.pop(request_id, None) is not None:
            self._scheduler.cancel(request_id)

    def _give_up(self, error: TascelError) -> None:
        """After a failed pass: whoever does not wait any more was in it."""
        while self._scheduler.running:  # closing a row may fail, too, and then leaves the others
            with suppress(Exception):
                self._scheduler.clear()
        queued = self._scheduler.queued
        lost = [request for id_, request in self._open.items() if id_ not in queued]
        self._tell([Event(request, (), error=error) for request in lost])

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.completion is not None or event.error is not None:
                self._open.pop(event.request.id, None)
        if events:
            self._hear(events)


def _said(error: Exception) -> TascelError:
    """An error as an event may carry it; what nobody foresaw goes to the log instead."""
    if isinstance(error, TascelError):
        return error
    _log.error("a pass failed; the requests in it are given up", exc_info=error)
    return ModelError(f"the model failed in a pass ({type(error).__name__})", "Try again")
