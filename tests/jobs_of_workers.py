"""Jobs that workers can import."""

from __future__ import annotations

import os
import signal

from tascel.errors import TraceError
from tascel.workers import processes


def square(job, out, tick):
    for _ in range(job):
        tick(1)
    out.write_text(str(job * job))


def as_folder(job, out, tick):
    out.mkdir()
    (out / "n").write_text(str(job))


def refuse(job, out, tick):
    out.write_text("half")
    raise TraceError(f"job {job} is bad", "Mend it")


def die(job, out, tick, folder, times):
    """Killed the first `times` times that job 3 is done."""
    tick(5)
    if job == 3:
        tries = folder / "tries"
        count = len(tries.read_text()) if tries.exists() else 0
        if count < times:
            tries.write_text("x" * (count + 1))
            os.kill(os.getpid(), signal.SIGKILL)
    out.write_text(f"{job}")


def die_telling(job, out, tick, folder):
    """Killed once, in the midst of telling how far it is."""
    once = folder / "once"
    if job == 3 and not once.exists():
        once.touch()
        if lock := getattr(processes._shared, "get_lock", None):
            lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    tick(1)
    out.write_text(f"{job}")
