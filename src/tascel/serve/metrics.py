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
from prometheus_client.registry import Collector

from tascel.types import SOURCES, Completion, Request

#: A client may name any task; only so many of each tenant get a label of their own.
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
        self._answers = self._count("answers", "Answers by how they ended.", "end")
        self._prompt = self._count("prompt_tokens", "Tokens of prompts.")
        self._cached = self._count(
            "cached_prompt_tokens", "Those of them that another request had read."
        )
        self._written = self._count("answer_tokens", "Tokens of answers.")
        self._steps = self._count("steps", "Passes that answers took part in.")
        self._offered = self._count("drafted_tokens", "Drafted tokens that were checked.", "source")
        self._accepted = self._count(
            "accepted_tokens", "Drafted tokens that were written.", "source"
        )
        self._first = Histogram(
            "tascel_first_token_seconds", "Seconds from arrival to the first token.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "tascel_answer_seconds", "Seconds from arrival to the last token.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._tasks: dict[str, set[str]] = {}

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when somebody asks."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def add(self, collector: Collector) -> None:
        """Add metrics that others keep."""
        self._registry.register(collector)

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
        """An answer is complete. It counts for the request's tenant, and there for the task that it
        names, else for the one that its prompt was taken for."""
        stats = completion.stats
        whose = self._labels(request.tenant, request.task or stats.task)
        self._answers.labels(*whose, completion.finish_reason).inc()
        self._seconds.observe(seconds)
        self._prompt.labels(*whose).inc(len(request.prompt))
        self._cached.labels(*whose).inc(stats.shared)
        self._written.labels(*whose).inc(len(completion.tokens))
        self._steps.labels(*whose).inc(stats.steps)
        for source in SOURCES[1:]:
            if stats.offered.get(source):
                self._offered.labels(*whose, source).inc(stats.offered[source])
                self._accepted.labels(*whose, source).inc(stats.accepted.get(source, 0))

    def ended(self, request: Request, why: str) -> None:
        """An answer ended before it was complete: "cancelled" or "error"."""
        self._answers.labels(*self._labels(request.tenant, request.task), why).inc()

    def _count(self, name: str, about: str, *further: str) -> Counter:
        """A counter of answers by tenant, task and `further` labels."""
        labels = ["tenant", "task", *further]
        return Counter(f"tascel_{name}", about, labels, registry=self._registry)

    def _labels(self, tenant: str | None, name: str | None) -> tuple[str, str]:
        whose, task = tenant or "", name or ""
        tasks = self._tasks.setdefault(whose, set())
        if task not in tasks:
            if len(tasks) >= MOST_TASKS:
                return whose, "other"
            tasks.add(task)
        return whose, task
