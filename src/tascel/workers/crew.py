"""Who does jobs, and where their results are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType

from tascel.errors import TascelError
from tascel.workers.alone import Alone
from tascel.workers.cluster import RAY, Cluster, package
from tascel.workers.processes import Processes
from tascel.workers.task import LOOK, Hands, J, Task, Work

#: Seconds until a result that another machine wrote must be seen here.
_ARRIVES = 90.0

Progress = Callable[[str, int, int | None], None]


def checked(workers: int | str) -> int | str:
    """A number of workers, or "ray".

    Raises:
        TascelError: it is neither, or Ray is not installed.
    """
    if workers == RAY:
        package()
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
            self._hands: Hands = Cluster()
        else:
            self._hands = Alone() if workers == 1 else Processes(workers)

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
            name: Task(work, job, results[name])
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


def _arrived(result: Path) -> bool:
    """Whether it is there, after a while: network file systems go on saying that it is not."""
    until = monotonic() + _ARRIVES
    while not result.exists():
        if monotonic() > until:
            return False
        sleep(LOOK)
    return True
