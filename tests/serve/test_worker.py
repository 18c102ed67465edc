"""The thread that owns the scheduler outlives everything."""

from __future__ import annotations

from queue import SimpleQueue

import numpy as np
import pytest

from tascel.decode.schedule import Event
from tascel.errors import ModelError, RequestError
from tascel.serve.worker import Worker
from tascel.types import Completion, Request, Stats


def request(name):
    return Request(name, np.array([1], np.int32))


class FakeScheduler:
    """One row; each answer takes one pass. Requests with these names make trouble."""

    def __init__(self):
        self.queue, self.rows = [], []

    @property
    def waiting(self):
        return len(self.queue)

    @property
    def queued(self):
        return {request.id for request in self.queue}

    @property
    def running(self):
        return len(self.rows)

    def add(self, request):
        if request.id == "refused":
            raise RequestError("no")
        if request.id == "odd":
            raise ZeroDivisionError
        self.queue.append(request)

    def cancel(self, request_id):
        if request_id == "sticky":
            raise ZeroDivisionError
        self.queue = [r for r in self.queue if r.id != request_id]

    def clear(self):
        lost = self.rows.pop()
        if lost.id == "stuck":
            raise ZeroDivisionError
        return [lost]

    def step(self):
        if not self.queue:
            return []
        first = self.queue.pop(0)
        if first.id == "vanishes":
            raise ZeroDivisionError
        self.rows.append(first)
        if first.id in ("fails", "stuck"):
            raise ZeroDivisionError
        self.rows.remove(first)
        return [Event(first, (), Completion("", (), (), "stop", Stats()))]


@pytest.fixture
def worker():
    heard = SimpleQueue()
    worker = Worker(FakeScheduler(), heard.put)
    worker.heard = lambda: heard.get(timeout=30)
    worker.start()
    yield worker
    worker.stop()
    assert not worker.alive


def test_answers_come_in_order(worker):
    for name in "abc":
        worker.submit(request(name))
    done = [event for _ in range(3) for event in worker.heard()]
    assert [event.request.id for event in done] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "error"),
    [("refused", RequestError), ("odd", ModelError), ("fails", ModelError),
     ("vanishes", ModelError), ("stuck", ModelError)],
)  # fmt: skip
def test_every_request_ends_with_one_event_and_the_thread_goes_on(worker, name, error):
    for each in (name, "next"):
        worker.submit(request(each))
    ends = {}
    while len(ends) < 2:
        for event in worker.heard():
            assert event.request.id not in ends
            ends[event.request.id] = event
    assert type(ends[name].error) is error
    assert ends["next"].completion is not None
    assert worker.running == worker.waiting == 0


def test_a_cancel_that_fails_is_survived(worker):
    for name in ("sticky", "next"):
        worker.submit(request(name))
    worker.cancel("sticky")
    worker.cancel("unknown")
    seen = []
    while "next" not in seen:
        seen += [event.request.id for event in worker.heard()]
    assert worker.alive
