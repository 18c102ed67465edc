"""Jobs done by processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from tascel.errors import TascelError
from tascel.workers.task import AHEAD, LOOK, TRIES, Task


class Processes:
    """Processes of this machine. One that is killed is replaced, and what was under way is done
    again."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._context = multiprocessing.get_context("spawn")
        # without a lock: a worker that is killed while it holds one would stop all others for ever
        self._ticks = self._context.Value("q", 0, lock=False)
        # nothing is ever written: workers end when the other end is closed, by us or by our death
        self._leash, self._hold = self._context.Pipe(duplex=False)
        self._pool: ProcessPoolExecutor | None = None
        self._killed = 0  # workers in a row

    def run(
        self, stage: str, tasks: Mapping[str, Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
        """Do the tasks, each named when it is done."""
        left, ticked = dict(tasks), 0
        self._killed = self._ticks.value = 0
        while left:
            try:
                for name, count in self._finished(left, lambda: heard(self._ticks.value)):
                    del left[name]
                    self._killed, ticked = 0, ticked + count
                    yield name
                heard(ticked)  # of two ticks at the same time one may have been missed
            except BrokenProcessPool:
                self._pool = None
                self._ticks.value = ticked
                self._killed += 1
                if self._killed == TRIES:
                    raise TascelError(
                        f"{stage}: {TRIES} workers in a row were killed",
                        "Perhaps memory ran out: use fewer workers. A script that starts them "
                        'needs `if __name__ == "__main__":`',
                    ) from None

    def _finished(
        self, tasks: dict[str, Task[Any]], look: Callable[[], None]
    ) -> Generator[tuple[str, int]]:
        """What is done, until a worker is killed; then what was under way is last in `tasks`.

        After that it goes on one by one, so that a job that kills does not take others with it.
        """
        waiting, under_way = iter([*tasks.items()]), dict[Future[int], str]()
        self._pool = pool = self._pool or ProcessPoolExecutor(
            self._count, self._context, _on_the_leash, (self._leash, self._ticks)
        )
        while True:
            most = 1 if self._killed else AHEAD * self._count
            while len(under_way) < most and (task := next(waiting, None)):
                name = task[0]
                tasks[name] = tasks.pop(name)
                under_way[pool.submit(_in_process, task[1])] = name
            if not under_way:
                return
            done, _ = wait(under_way, LOOK, FIRST_COMPLETED)
            # one that was killed is heard of last: what others have made counts
            for future in sorted(done, key=lambda future: future.exception() is not None):
                yield under_way.pop(future), future.result()
            look()

    def close(self) -> None:
        """End the workers; what waits is not done."""
        self._hold.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._leash.close()


#: In a worker: the units done by all workers, about.
_shared: Any = None


def _on_the_leash(leash: Connection, ticks: Any) -> None:
    """In a new worker: it ends with its master, and leaves the other processors to its like."""
    import signal

    global _shared
    _shared = ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the master hears it, too
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_wait, args=(leash,), daemon=True).start()


def _wait(leash: Connection) -> None:
    leash.poll(None)
    os._exit(1)


def _in_process(task: Task[Any]) -> int:
    def tick(more: int) -> None:
        _shared.value += more

    return task(tick)
