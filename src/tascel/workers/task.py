"""One job, done whole or not at all, and what any who do jobs offer."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

#: A job is tried so often when the worker that does it is killed.
TRIES = 3
#: Jobs handed out for each worker: one that it does, and the next.
AHEAD = 2
#: Seconds between two looks at how far the workers are.
LOOK = 0.2

J = TypeVar("J")
#: Hears of so many more units done.
Tick = Callable[[int], None]
#: Does a job: writes one file or one folder to the path given, which is not there yet.
Work = Callable[[J, Path, Tick], None]


@dataclass(frozen=True, slots=True)
class Task(Generic[J]):
    """A job and who does it."""

    work: Work[J]
    job: J
    result: Path

    def __call__(self, tick: Tick) -> int:
        """Do it, whole or not at all: how many units it ticked."""
        count = 0

        def counted(more: int) -> None:
            nonlocal count
            count += more
            tick(more)

        partial = self.result.with_name(f".{self.result.name}.{uuid.uuid4().hex}")
        try:
            self.work(self.job, partial, counted)
            _put(partial, self.result)
        finally:
            _remove(partial)
        return count


class Hands(Protocol):
    """Who does tasks."""

    def run(
        self, stage: str, tasks: Mapping[str, Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
        """The name of each task when it is done; `heard` is told how many units are."""
        ...

    def close(self) -> None:
        """End whatever is still running."""
        ...


def _put(partial: Path, result: Path) -> None:
    try:
        partial.replace(result)
    except OSError:
        if not result.is_dir():  # a worker given up for dead was there first, with the same content
            raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
