"""Makes small language models several times faster on the one task they are used for.

    runner = tascel.load("bundle", model="org/model", adapter="adapter")
    runner.generate("turn on the light").text

Importing this package imports no engine; `build`, `load`, `replay` and `verify` do when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tascel.errors import TascelError
from tascel.types import Chunk, Completion, Request, Sampling, Stats, Trace

if TYPE_CHECKING:
    from tascel.bench.replay import replay
    from tascel.bench.verify import verify
    from tascel.builder import build
    from tascel.learning import LearnConfig
    from tascel.loading import load

__all__ = [
    "Chunk",
    "Completion",
    "LearnConfig",
    "Request",
    "Sampling",
    "Stats",
    "TascelError",
    "Trace",
    "build",
    "load",
    "replay",
    "verify",
]

_LAZY = {
    "LearnConfig": "tascel.learning",
    "build": "tascel.builder",
    "load": "tascel.loading",
    "replay": "tascel.bench.replay",
    "verify": "tascel.bench.verify",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tascel' has no attribute {name!r}")
