"""How a task is learned, and from what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tascel.codec import Codec
from tascel.errors import RequestError
from tascel.records import Records
from tascel.store.manifest import Settings


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """How a task is learned.

    `own_outputs`: for so many traces the model's own answer replaces the reference, since drafts
    must predict the model. `text`: whether SUMMARY.md and the tasks' names quote the traces; their
    labels may be names anyway. `corpus_tokens` bounds the index (8 bytes a token): beyond it, or
    with prompts of four times as many tokens, every second trace is left out, and so on.
    `trust_traces` bounds the traces that trust is learned on, of everything and of a task. `tasks`:
    "auto" takes the traces' own `task` labels where all have one and they differ, else finds the
    tasks; "find" looks at labels for names only; "one" takes everything for one task.
    """

    own_outputs: int = 0
    text: bool = True
    corpus_tokens: int = 64_000_000
    trust_traces: int = 4_000
    max_tokens: int = 512
    batch: int = 16
    seed: int = 0
    tasks: str = "auto"

    def __post_init__(self) -> None:
        if self.tasks not in ("auto", "find", "one"):
            raise RequestError(f"tasks cannot be {self.tasks!r}", "Choose `auto`, `find` or `one`")

    def settings(self, thinned: int) -> Settings:
        """What a bundle remembers of it."""
        return Settings(
            self.text, self.tasks, self.corpus_tokens, self.trust_traces, self.seed, thinned
        )


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a bundle is learned from: `records`, written by `codec`, and what its manifest says of
    the `model`, its `weights`, the `command` and the `settings`; `counts` are the traces that were
    read and those that were refused."""

    records: Records
    codec: Codec
    model: str
    weights: str | None
    settings: Settings
    counts: Mapping[str, int]
    command: Sequence[str] = ()
