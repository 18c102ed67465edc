"""Makes small language models several times faster on the one task they are used for.

Learn a task from a file of past exchanges, then answer with drafts; answers are the model's own:

    tascel.build("traces.jsonl", "org/model", "bundle")
    runner = tascel.load("bundle", model="org/model")
    runner.generate("turn on the light").text
    for chunk in runner.stream("and off"):
        print(chunk.text, chunk.source)

Before that, `replay` estimates what drafts would save, without the model; after it, `verify`
compares every token with plain decoding. What goes in and comes out: `Trace`, `Request`,
`Sampling`, `Chunk`, `Completion`, `Stats`. How to draft, build and learn: `DraftConfig`,
`BuildConfig`, `LearnConfig`. What is wrong with the input ends in a `TascelError` that says what to
do.

Importing this package imports no engine and no torch; what needs them imports them when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tascel.errors import TascelError
from tascel.types import Chunk, Completion, Request, Sampling, Stats, Trace

if TYPE_CHECKING:
    from tascel.bench.replay import replay
    from tascel.bench.verify import verify
    from tascel.builder import build
    from tascel.building.config import BuildConfig
    from tascel.bundle import Bundle
    from tascel.draft.ngram import DraftConfig
    from tascel.learning import LearnConfig
    from tascel.loading import load
    from tascel.runner import Runner
    from tascel.traces.read import read_traces

__all__ = [
    "BuildConfig",
    "Bundle",
    "Chunk",
    "Completion",
    "DraftConfig",
    "LearnConfig",
    "Request",
    "Runner",
    "Sampling",
    "Stats",
    "TascelError",
    "Trace",
    "build",
    "load",
    "read_traces",
    "replay",
    "verify",
]

_LAZY = {
    "BuildConfig": "tascel.building.config",
    "Bundle": "tascel.bundle",
    "DraftConfig": "tascel.draft.ngram",
    "LearnConfig": "tascel.learning",
    "Runner": "tascel.runner",
    "build": "tascel.builder",
    "load": "tascel.loading",
    "read_traces": "tascel.traces.read",
    "replay": "tascel.bench.replay",
    "verify": "tascel.bench.verify",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tascel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
