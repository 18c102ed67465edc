"""A live server around a toy model, and one whose passes a test lets through one by one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

import tascel
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.serve.access import Access
from tascel.serve.app import App
from tascel.serve.ask import Served
from tascel.serve.limits import Limits
from tascel.serve.server import Server, bind
from tascel.types import Trace

PROMPTS = [f"light {i} in the den" for i in range(6)]


@pytest.fixture(scope="session")
def served_folder(toy, tokenizer, tmp_path_factory):
    """A toy model with room for tools in its context."""
    folder = tmp_path_factory.mktemp("served-model")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    toy("Llama", max_position_embeddings=1024, eos_token_id=end).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def served_runner(served_folder, tmp_path_factory):
    """A toy model with a bundle of its own answers, so that drafts are often right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        plain = tascel.load(None, model=served_folder)
        traces = []
        for prompt in PROMPTS[:4]:
            text = plain.generate(prompt, max_tokens=20).text
            user, answer = {"role": "user", "content": prompt}, {"role": "assistant"}
            traces += [Trace((user,), answer | {"content": text})] * 3
        folder = tmp_path_factory.mktemp("b") / "bundle"
        tascel.build(traces, served_folder, folder)
        runner = tascel.load(folder, model=served_folder)
    # a toy's passes are too short to measure: drafts must not depend on that noise
    runner.price = Price.from_points({1: 1.0, 33: 1.6})
    runner.breaker = Breaker(runner.price)
    return runner


class Pace:
    """Lets passes through: all of them, or as many as a test allows."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._permits: int | None = None

    def _set(self, permits: int | None) -> None:
        with self._changed:
            self._permits = permits
            self._changed.notify()

    def hold(self) -> None:
        self._set(0)

    def free(self) -> None:
        self._set(None)

    def allow(self, passes: int) -> None:
        self._set((self._permits or 0) + passes)

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._permits is None or self._permits > 0)
            if self._permits is not None:
                self._permits -= 1


class PacedScheduler:
    """A scheduler that waits for its pace before a pass, and fails when told to."""

    def __init__(self, scheduler: Any, pace: Pace, faults: list[Exception]) -> None:
        self._scheduler, self._pace, self._faults = scheduler, pace, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def step(self) -> Any:
        if self._scheduler.waiting or self._scheduler.running:
            self._pace.wait()
        events = self._scheduler.step()
        if self._faults and self._scheduler.running:
            raise self._faults.pop()
        return events


class PacedRunner:
    def __init__(self, runner: Any, pace: Pace, faults: list[Exception]) -> None:
        self._runner, self._pace, self._faults = runner, pace, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def scheduler(self, rows: int) -> PacedScheduler:
        return PacedScheduler(self._runner.scheduler(rows), self._pace, self._faults)


@dataclass
class Live:
    """A server that runs."""

    url: str
    app: App
    server: Server
    pace: Pace
    faults: list[Exception]
    key: str | None

    def client(self, **options: Any) -> openai.OpenAI:
        given = {"base_url": f"{self.url}/v1", "api_key": self.key or "none", "max_retries": 0}
        return openai.OpenAI(**given | options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=60, **options)

    def health(self) -> tuple[int, dict[str, Any]]:
        response = httpx.get(f"{self.url}/health")
        return response.status_code, response.json()

    @staticmethod
    def until(holds: Callable[[], Any], what: str) -> None:
        """Wait for something that must come true."""
        for _ in range(6000):
            if holds():
                return
            time.sleep(0.01)
        pytest.fail(f"never came true: {what}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted)
        )


@contextmanager
def _living(
    runner: Any,
    name: str = "toy",
    key: str | None = None,
    tenants: dict[str, list[str]] | None = None,
    temperature: float = 0.0,
    buffer: int | None = None,
    port: int = 0,
    page: bool = True,
    samples: bool = True,
    **limits: Any,
) -> Iterator[Live]:
    pace, faults = Pace(), list[Exception]()
    terms = Limits(**{"tokens": 128, "rows": 4, "stall": 20.0, "drain": 20.0} | limits)
    served = Served(PacedRunner(runner, pace, faults), name, terms, temperature, page, samples)
    app = App(served, Access.of(key, tenants))
    server = Server(app, terms)
    with bind("127.0.0.1", port, terms) as bound:
        if buffer is not None:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        Live.until(lambda: server.started, "the server has started")
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        try:
            yield Live(url, app, server, pace, faults, key)
        finally:
            pace.free()
            server.should_exit = True
            thread.join(60)
    assert not thread.is_alive()
    assert not app.service.worker.alive


@pytest.fixture(scope="session")
def living():
    """`with living(runner, key="…", rows=1) as live:` is a server."""
    return _living


@pytest.fixture(scope="package")
def live(served_runner):
    """A server that all tests of the package share; they leave it idle and free."""
    with _living(served_runner) as server:
        yield server


@pytest.fixture
def client(live):
    with live.client() as client:
        yield client


@pytest.fixture
def start(served_runner):
    """`with start(key="…", rows=1) as live:` is a server of one's own."""
    return lambda **options: _living(served_runner, **options)
