"""The nouns that every layer shares. Imports nothing of ours but the errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tascel.errors import RequestError

Ids = NDArray[np.int32]
Message = Mapping[str, Any]
FinishReason = Literal["stop", "length"]

#: Who put a token on the table: index = the `source` code of a proposal's node.
SOURCES = (
    "model", "corpus", "context", "draft", "prediction", "grammar", "neighbours", "slots",
    "head", "neural",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trace:
    """One past exchange of the task, or one prompt still to be answered.

    `messages` is the conversation without the answer, in OpenAI's shape; `answer` is the last
    assistant turn (None for a prompt only). `group` names what must be held out together when
    drafts are judged: the same template, customer or session. `time` is when it was, in seconds
    since 1970, None if unknown.
    """

    messages: tuple[Message, ...]
    answer: Message | None = None
    tools: tuple[Message, ...] | None = None
    task: str | None = None
    split: str | None = None
    group: str | None = None
    time: float | None = None

    @property
    def prompt_text(self) -> str:
        """The user-visible text of the prompt, for grouping and display (not for the model)."""
        parts = (m.get("content") for m in self.messages if m.get("role") != "system")
        return "\n".join(p for p in parts if isinstance(p, str))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is picked. The default is greedy.

    Penalties: `repetition_penalty` divides or multiplies logits of ids in prompt and output (as
    transformers); `presence_penalty` and `frequency_penalty` subtract from ids in the output (as
    OpenAI). `logit_bias` adds to the logits of ids. `seed` makes a sampled answer repeatable; None
    draws a fresh seed for each request.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        checks = {
            "temperature must be 0 or more": self.temperature >= 0,
            "top_k must be 0 (off) or more": self.top_k >= 0,
            "top_p must be above 0 and at most 1": 0 < self.top_p <= 1,
            "min_p must be at least 0 and below 1": 0 <= self.min_p < 1,
            "repetition_penalty must be above 0": self.repetition_penalty > 0,
            "presence_penalty must lie between -2 and 2": -2 <= self.presence_penalty <= 2,
            "frequency_penalty must lie between -2 and 2": -2 <= self.frequency_penalty <= 2,
            "seed must be 0 or more": self.seed is None or self.seed >= 0,
        }
        for rule, holds in checks.items():
            if not holds:
                raise RequestError(f"bad sampling settings {self}", rule)

    @property
    def penalised(self) -> bool:
        """Whether logits are changed before the pick."""
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
            or bool(self.logit_bias)
        )

    @property
    def plain_greedy(self) -> bool:
        """Whether the pick is simply the highest raw logit."""
        return self.temperature == 0 and not self.penalised


class Processor(Protocol):
    """Changes logits before a token is picked. Called once for each token of an answer, in order,
    so it may keep a state."""

    def __call__(self, history: Ids, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits f32[V] to pick from, given prompt and answer so far, i32[n]."""
        ...


class Constraint(Protocol):
    """A grammar's place in one answer."""

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        ...

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits f32[V] of ids that may not come next to -inf, in place."""
        ...

    def accept(self, token: int) -> None:
        """Move on by a token that was written."""
        ...

    def forced(self) -> Sequence[int]:
        """The ids that likely come next, where the grammar leaves little choice; only a draft."""
        ...

    def admits(self, tokens: Sequence[int], parents: Sequence[int]) -> list[bool]:
        """Which nodes of a drafted tree may be written; changes nothing."""
        ...


class Grammar(Protocol):
    """What an answer must look like."""

    def start(self) -> Constraint:
        """The start of one answer."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One prompt on its way through the decode loop, as token ids.

    `tenant` is whose the request is, where several share a model: only what was learned for that
    tenant drafts for it, and no other reuses what it read. `prediction` is what the caller expects
    the answer to be, a source of drafts. `processors` makes what changes logits in this answer,
    after the penalties. `logprobs` asks for the log-probability of each token and of so many
    likeliest ones. Without `drafts` it is decoded plainly, also among others that are not: nothing
    drafts for it, and nothing is learned from it.
    """

    id: str
    prompt: Ids
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    task: str | None = None
    tenant: str | None = None
    prediction: Ids | None = None
    grammar: Grammar | None = None
    processors: Callable[[], Sequence[Processor]] | None = None
    logprobs: int | None = None
    drafts: bool = True

    @property
    def plain_greedy(self) -> bool:
        """Whether every pick is simply the highest raw logit."""
        return self.sampling.plain_greedy and self.grammar is None and self.processors is None


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Natural logarithms of the model's own probabilities, before temperature, penalties and
    grammar: of the written token, and of the likeliest ids, best first."""

    token: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """One token as it is streamed.

    `text` is what became certain with this token: empty while a character or a possible stop
    string is still open. `source` names who drafted the token, "model" if nobody had.
    """

    token: int
    text: str
    source: str
    step: int
    logprobs: Logprobs | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """What one answer cost. Times are wall-clock seconds, the passes' that it shared with others
    included; `offered` and `accepted` count drafted tokens by source; `shared` prompt tokens that
    were already in the cache; `rejects` counts steps that refused at least one, `block_stops`
    answers that ended inside a block of accepted tokens; `task` is whose draft served, None if
    there are not several."""

    steps: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    shared: int = 0
    offered: Mapping[str, int] = field(default_factory=dict[str, int])
    accepted: Mapping[str, int] = field(default_factory=dict[str, int])
    rejects: int = 0
    block_stops: int = 0
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer. `tokens` include the end-of-sequence id, `text` leaves special tokens and
    everything from a stop string on out."""

    text: str
    tokens: tuple[int, ...]
    sources: tuple[str, ...]
    finish_reason: FinishReason
    stats: Stats
    logprobs: tuple[Logprobs, ...] = ()
