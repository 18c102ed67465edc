"""How to distil neural drafts, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tascel.decode.engine import Engine
from tascel.draft.price import Price

#: Told (stage, done, total).
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """How to distil.

    Attributes:
        layers: depths to try: a draft has so many of the model's first layers.
        steps: batches that a draft for all tasks learns from; one of a task's own goes on from
            there for half as many.
        rank: of the adapter, which is scaled by 2.
        limit: training answers of each task at most, drawn at random.
        tried: held-out answers of each task that drafts are judged on; as many more say how far to
            believe a draft's probabilities.
        max_tokens: longer answers are cut there.
        traces_are_outputs: whether the traces' answers are what the model writes; otherwise it
            answers their prompts first.
        keep_all: store every draft and not only what a task is served best by.
        rows: prompts that the model answers at a time.
    """

    layers: Sequence[int] = (2, 4)
    steps: int = 200
    rank: int = 16
    learning_rate: float = 2e-3
    batch: int = 16
    limit: int = 1000
    tried: int = 40
    max_tokens: int = 256
    max_length: int = 1024
    traces_are_outputs: bool = False
    keep_all: bool = False
    rows: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The model that drafts are for: a transformers `model` in its `engine`, what its passes cost,
    and the fingerprint of its `weights`."""

    model: object
    engine: Engine
    price: Price
    weights: str


@dataclass(frozen=True, slots=True)
class Made:
    """A draft that was trained. `step` is what its pass of one token takes, in such passes of the
    target; `loss` nats a token over its last steps."""

    name: str
    layers: int
    examples: int
    loss: float
    seconds: float
    step: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What one way to draft made of a task's held-out answers.

    Attributes:
        tokens_per_pass: written, passes of the target only.
        first: of the passes that offered anything, the share whose first token was right.
        accepted: share of offered tokens that were right.
        tokens_per_ms: the draft's own passes included.
        speedup: over one token a pass.
        chain_first, chain_accepted: where it drafts four tokens each pass, whatever they cost: the
            share of passes whose first one was right, and of all drafted tokens; None where two
            drafts go on behind one another.
        kept: whether the bundle has it now.
    """

    name: str
    tokens_per_pass: float
    first: float
    accepted: float
    tokens_per_ms: float
    speedup: float
    chain_first: float | None
    chain_accepted: float | None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task (None: all are one): how many answers were learned from and judged on, each way to
    draft, and the name of the one that serves it from now on."""

    task: str | None
    train: int
    held_out: int
    ways: Sequence[Judged]
    chosen: str


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came out. `stored` says whether the bundle has neural drafts now."""

    drafts: Sequence[Made]
    tasks: Sequence[TaskResult]
    stored: bool
