"""The other end of `engines_worker.py`: a contender's process, which stands still unless asked."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Self

HERE = Path(__file__).parent
WORKER = HERE / "engines_worker.py"
_DIE_WITH_PARENT = 1  # Linux: prctl's PR_SET_PDEATHSIG


class Worker:
    """A contender that has loaded its model, stopped (SIGSTOP) while it is not asked: what spins or
    learns in the background costs the others nothing, and its own time tells of it.

    Attributes:
        loaded: seconds from the start of the process until it could be asked.
    """

    def __init__(self, python: str, job: Mapping[str, Any], threads: int, log: Path) -> None:
        """Raises SystemExit with the end of its log if it does not come up."""
        self._log = log
        started = perf_counter()
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [python, str(WORKER), json.dumps(job)],
                env=os.environ | environment(threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._read()
        self.loaded = perf_counter() - started
        self._signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()

    def ask(self, ids: Sequence[int], most: int) -> tuple[list[int], float]:
        """Its greedy answer of at most so many ids, and the seconds it took."""
        self._signal(signal.SIGCONT)
        assert self._process.stdin is not None
        line = json.dumps({"ids": list(ids), "most": most}) + "\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        said = self._read()
        self._signal(signal.SIGSTOP)
        return said["ids"], said["seconds"]

    def memory(self) -> dict[str, int]:
        """Resident bytes: `pss` shares what other processes map, too, among them, `rss` counts all
        of it, as if this one ran alone; `anonymous` belongs to no file."""
        total = dict.fromkeys(("rss", "pss", "anonymous"), 0)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                group = stat.read_text().rpartition(")")[2].split()[2]
                if int(group) != self._process.pid:
                    continue
                lines = (stat.parent / "smaps_rollup").read_text().splitlines()[1:]
            except OSError:
                continue  # it has ended meanwhile
            kilobytes = {name: int(rest.split()[0]) for name, _, rest in
                         (line.partition(":") for line in lines)}  # fmt: skip
            for name in total:
                total[name] += 1024 * kilobytes[name.capitalize()]
        return total

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            ended = self._process.wait()
            log = self._log.read_text(errors="replace")[-4000:]
            raise SystemExit(f"{log}\n{self._process.args} ended with {ended}")
        return json.loads(line)

    def _signal(self, which: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, which)


def environment(threads: int) -> dict[str, str]:
    """What every contender's process is started with."""
    return {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "src")]),
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "",  # arctic-inference would patch what is measured
        "VLLM_USE_AOT_COMPILE": "0",  # what 0.32 keeps of it on a CPU, it cannot load again
    }


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
