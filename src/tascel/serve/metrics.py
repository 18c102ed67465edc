"""What Prometheus can ask: requests, tokens, drafts by source and task, times, queue."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from tascel.types import SOURCES, Completion, Request

#: A client may name any task; only so many get a label of their own.
MOST_TASKS = 64
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 150, 600)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._http = Counter(
            "tascel_http_requests", "HTTP requests.", ["route", "status"], registry=registry
        )
        self._http_seconds = Histogram(
            "tascel_http_seconds", "Seconds from a request to its last byte.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._answers = Counter(
            "tascel_answers", "Answers by how they ended.", ["task", "end"], registry=registry
        )
        self._prompt = Counter(
            "tascel_prompt_tokens", "Tokens of prompts.", ["task"], registry=registry
        )
        self._cached = Counter(
            "tascel_cached_prompt_tokens", "Those of them that another request had read.",
            ["task"], registry=registry,
        )  # fmt: skip
        self._written = Counter(
            "tascel_answer_tokens", "Tokens of answers.", ["task"], registry=registry
        )
        self._steps = Counter(
            "tascel_steps", "Passes that answers took part in.", ["task"], registry=registry
        )
        self._offered = Counter(
            "tascel_drafted_tokens", "Drafted tokens that were checked.", ["task", "source"],
            registry=registry,
        )  # fmt: skip
        self._accepted = Counter(
            "tascel_accepted_tokens", "Drafted tokens that were written.", ["task", "source"],
            registry=registry,
        )  # fmt: skip
        self._first = Histogram(
            "tascel_first_token_seconds", "Seconds from arrival to the first token.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "tascel_answer_seconds", "Seconds from arrival to the last token.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._tasks: set[str] = set()

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when somebody asks."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def responded(self, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request; status 499 stands for a client that hung up."""
        self._http.labels(route, str(status)).inc()
        self._http_seconds.labels(route).observe(seconds)

    def first_token(self, seconds: float) -> None:
        """An answer has begun."""
        self._first.observe(seconds)

    def finished(self, request: Request, completion: Completion, seconds: float) -> None:
        """An answer is complete. It counts for the task that the request names, else for the one
        that its prompt was taken for."""
        stats = completion.stats
        task = self._task(request.task or stats.task)
        self._answers.labels(task, completion.finish_reason).inc()
        self._seconds.observe(seconds)
        self._prompt.labels(task).inc(len(request.prompt))
        self._cached.labels(task).inc(stats.shared)
        self._written.labels(task).inc(len(completion.tokens))
        self._steps.labels(task).inc(stats.steps)
        for source in SOURCES[1:]:
            if stats.offered.get(source):
                self._offered.labels(task, source).inc(stats.offered[source])
                self._accepted.labels(task, source).inc(stats.accepted.get(source, 0))

    def ended(self, request: Request, why: str) -> None:
        """An answer ended before it was complete: "cancelled" or "error"."""
        self._answers.labels(self._task(request.task), why).inc()

    def _task(self, name: str | None) -> str:
        task = name or ""
        if task not in self._tasks:
            if len(self._tasks) >= MOST_TASKS:
                return "other"
            self._tasks.add(task)
        return task
