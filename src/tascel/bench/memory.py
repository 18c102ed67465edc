"""What lies in memory while a runner answers."""

from __future__ import annotations

import resource
import sys

from tascel.runner import Runner

#: `ru_maxrss` counts so many bytes.
_UNIT = 1 if sys.platform == "darwin" else 1024


def memory(runner: Runner) -> dict[str, int | None]:
    """Bytes: of the model's weights, None unless torch holds them; of the bundle's files, which are
    mapped, so that only what is used lies in memory; and the most that this process, with all its
    contenders, has held so far."""
    weights = None
    if runner.model is not None:
        held = {w.data_ptr(): w.nbytes for w in runner.model.parameters()}
        weights = sum(held.values())
    files = runner.bundle.path.rglob("*") if runner.bundle is not None else ()
    return {
        "model": weights,
        "bundle": sum(file.stat().st_size for file in files if file.is_file()),
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT,
    }
