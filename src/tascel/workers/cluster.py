"""Jobs done by a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from tascel.errors import TascelError
from tascel.workers.task import AHEAD, LOOK, TRIES, Task

RAY = "ray"


class Cluster:
    """A Ray cluster. It replaces workers and machines that are lost by itself."""

    def __init__(self) -> None:
        self._ray = package()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._ray.init(log_to_driver=False)

    def run(
        self, stage: str, tasks: Mapping[str, Task[Any]], heard: Callable[[int], None]
    ) -> Iterator[str]:
        """Do the tasks, each named when it is done."""
        ray, done = self._ray, 0
        remote = ray.remote(_on_cluster).options(max_retries=TRIES - 1)
        waiting, under_way = iter(tasks.items()), dict[Any, str]()
        while True:
            most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while len(under_way) < most and (task := next(waiting, None)):
                under_way[remote.remote(task[1])] = task[0]
            if not under_way:
                return
            for ref in ray.wait([*under_way], num_returns=1, timeout=LOOK)[0]:
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
        """Leave the cluster, if it was ours."""
        if self._ours:
            self._ray.shutdown()


def _on_cluster(task: Task[Any]) -> int:
    return task(lambda more: None)


def package() -> Any:
    """Ray itself.

    Raises:
        TascelError: it is not installed.
    """
    try:
        return import_module(RAY)
    except ImportError:
        raise TascelError("Ray is not installed", "pip install 'tascel[ray]'") from None
