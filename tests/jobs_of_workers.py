"""Jobs that workers can import."""

from __future__ import annotations

import os
import signal

from tascel.errors import TraceError


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
