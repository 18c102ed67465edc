"""Jobs done by this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tascel.workers.task import Task


class Alone:
    """This process."""

    def run(
        self, stage: str, tasks: Mapping[str, Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
        """Do the tasks, each named when it is done."""
        done = 0

        def tick(more: int) -> None:
            nonlocal done
            done += more
            heard(done)

        for name, task in tasks.items():
            task(tick)
            yield name

    def close(self) -> None:
        """Nothing is left running."""
