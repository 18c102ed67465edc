"""Many jobs at once: in this process, in several, or on a Ray cluster.

Results are files in one folder, so it does not matter who made them, and what a run that was killed
has made already is not made again. Knows nothing of what the jobs do.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from tascel.errors import TascelError

RAY = "ray"
#: A job is tried so often when the worker that does it is killed.
TRIES = 3
#: Jobs handed out for each worker: one that it does, and the next.
_AHEAD = 2
#: Seconds between two looks at how far the workers are.
_LOOK = 0.2
#: Seconds until a result that another machine wrote must be seen here.
_ARRIVES = 90.0

J = TypeVar("J")
#: Hears of so many more units done.
Tick = Callable[[int], None]
#: Does a job: writes one file or one folder to the path given, which is not there yet.
Work = Callable[[J, Path, Tick], None]
Progress = Callable[[str, int, int | None], None]


def checked(workers: int | str) -> int | str:
    """A number of workers, or "ray".

    Raises:
        TascelError: it is neither, or Ray is not installed.
    """
    if workers == RAY:
        _ray()
        return RAY
    try:
        count = int(workers)
    except ValueError:
        count = 0
    if count < 1:
        raise TascelError(f"workers cannot be {workers!r}", "Choose a number from 1, or `ray`")
    return count


class Crew:
    """Workers that write into `folder`. A context manager: they end with the block.

    `workers` is how many processes; 1 is this one, which then starts no other. "ray" are the
    processors of the Ray cluster that this process or its machine belongs to (`RAY_ADDRESS` names
    another), else of this machine; the folder must be on a file system that all of it shares.

    Other processes start by importing the main module, so a script that uses several workers needs
    `if __name__ == "__main__":`.
    """

    def __init__(self, workers: int | str, folder: Path) -> None:
        workers = checked(workers)
        self._folder = folder
        if isinstance(workers, str):
            self._hands: _Hands = _Cluster()
        else:
            self._hands = _Alone() if workers == 1 else _Processes(workers)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._hands.close()

    def run(
        self,
        stage: str,
        jobs: Mapping[str, J],
        work: Work[J],
        progress: Progress,
        total: int | None = None,
    ) -> dict[str, Path]:
        """Do the jobs whose results are not there yet: where each result is, in the jobs' order.

        Args:
            stage: what `progress` calls it.
            jobs: by the name of their result in the folder. They travel to the workers, so they
                should be small: name files instead of holding arrays.
            work: a function of a module, or a `partial` of one. It may be called again for a job
                whose worker was killed.
            total: of the units that `work` ticks, what is missing when the call begins.

        Raises:
            TascelError: workers are killed again and again, or their results do not arrive.
            Exception: what a job raised; the others are given up.
        """
        results = {name: self._folder / name for name in jobs}
        left = {
            name: _Task(work, job, results[name])
            for name, job in jobs.items()
            if not results[name].exists()
        }
        progress(stage, 0, total)
        for name in self._hands.run(stage, left, lambda done: progress(stage, done, total)):
            if not _arrived(results[name]):
                raise TascelError(
                    f"{results[name]}: a worker wrote it, but it is not here",
                    "All machines of the cluster must share the file system of the output",
                )
        return results


@dataclass(frozen=True, slots=True)
class _Task(Generic[J]):
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


def _arrived(result: Path) -> bool:
    """Whether it is there, after a while: network file systems go on saying that it is not."""
    until = monotonic() + _ARRIVES
    while not result.exists():
        if monotonic() > until:
            return False
        sleep(_LOOK)
    return True


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


class _Hands(Protocol):
    """Who does tasks."""

    def run(
        self, stage: str, tasks: Mapping[str, _Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
        """The name of each task when it is done; `heard` is told how many units are."""
        ...

    def close(self) -> None:
        """End whatever is still running."""
        ...


class _Alone:
    """This process."""

    def run(
        self, stage: str, tasks: Mapping[str, _Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
        done = 0

        def tick(more: int) -> None:
            nonlocal done
            done += more
            heard(done)

        for name, task in tasks.items():
            task(tick)
            yield name

    def close(self) -> None:
        pass


class _Processes:
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
        self, stage: str, tasks: Mapping[str, _Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
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
        self, tasks: dict[str, _Task[Any]], look: Callable[[], None]
    ) -> Generator[tuple[str, int]]:
        """What is done, until a worker is killed; then what was under way is last in `tasks`.

        After that it goes on one by one, so that a job that kills does not take others with it.
        """
        waiting, under_way = iter([*tasks.items()]), dict[Future[int], str]()
        self._pool = pool = self._pool or ProcessPoolExecutor(
            self._count, self._context, _on_the_leash, (self._leash, self._ticks)
        )
        while True:
            most = 1 if self._killed else _AHEAD * self._count
            while len(under_way) < most and (task := next(waiting, None)):
                name = task[0]
                tasks[name] = tasks.pop(name)
                under_way[pool.submit(_in_process, task[1])] = name
            if not under_way:
                return
            done, _ = wait(under_way, _LOOK, FIRST_COMPLETED)
            # one that was killed is heard of last: what others have made counts
            for future in sorted(done, key=lambda future: future.exception() is not None):
                yield under_way.pop(future), future.result()
            look()

    def close(self) -> None:
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


def _in_process(task: _Task[Any]) -> int:
    def tick(more: int) -> None:
        _shared.value += more

    return task(tick)


class _Cluster:
    """A Ray cluster. It replaces workers and machines that are lost by itself."""

    def __init__(self) -> None:
        self._ray = _ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._ray.init(log_to_driver=False)

    def run(
        self, stage: str, tasks: Mapping[str, _Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
        ray, done = self._ray, 0
        remote = ray.remote(_on_cluster).options(max_retries=TRIES - 1)
        waiting, under_way = iter(tasks.items()), dict[Any, str]()
        while True:
            most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while len(under_way) < most and (task := next(waiting, None)):
                under_way[remote.remote(task[1])] = task[0]
            if not under_way:
                return
            for ref in ray.wait([*under_way], num_returns=1, timeout=_LOOK)[0]:
                done += self._result(stage, ref)
                heard(done)
                yield under_way.pop(ref)

    def _result(self, stage: str, ref: Any) -> int:
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:
            raise error.cause from None
        except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            raise TascelError(
                f"{stage}: workers of the cluster are killed again and again",
                "Perhaps memory ran out: see the logs of Ray",
            ) from error

    def close(self) -> None:
        if self._ours:
            self._ray.shutdown()


def _on_cluster(task: _Task[Any]) -> int:
    return task(lambda more: None)


def _ray() -> Any:
    try:
        return import_module(RAY)
    except ImportError:
        raise TascelError("Ray is not installed", "pip install 'tascel[ray]'") from None
