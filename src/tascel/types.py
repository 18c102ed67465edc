"""The nouns that every layer shares. Imports nothing of ours but the errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tascel.errors import RequestError

Ids = NDArray[np.int32]
Message = Mapping[str, Any]
FinishReason = Literal["stop", "length"]

#: Who put a token on the table: index = the `source` code of a proposal's node.
SOURCES = ("model", "corpus", "context", "draft")


@dataclass(frozen=True, slots=True)
class Trace:
    """One past exchange of the task, or one prompt still to be answered.

    `messages` is the conversation without the answer, in OpenAI's shape; `answer` is the last
    assistant turn (None for a prompt only). `group` names what must be held out together when
    drafts are judged: the same template, customer or session.
    """

    messages: tuple[Message, ...]
    answer: Message | None = None
    tools: tuple[Message, ...] | None = None
    task: str | None = None
    split: str | None = None
    group: str | None = None

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
    OpenAI). `seed` makes a sampled answer repeatable; None draws a fresh seed for each request.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
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
        """Whether logits depend on the tokens so far."""
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
        )

    @property
    def plain_greedy(self) -> bool:
        """Whether the pick is simply the highest raw logit."""
        return self.temperature == 0 and not self.penalised


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One prompt on its way through the decode loop, as token ids."""

    id: str
    prompt: Ids
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    task: str | None = None


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


@dataclass(frozen=True, slots=True)
class Stats:
    """What one answer cost. Times are wall-clock seconds; `offered` and `accepted` count drafted
    tokens; `rejects` counts steps that refused at least one, `block_stops` answers that ended
    inside a block of accepted tokens."""

    steps: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    offered: int = 0
    accepted: Mapping[str, int] = field(default_factory=dict[str, int])
    rejects: int = 0
    block_stops: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer. `tokens` include the end-of-sequence id, `text` leaves special tokens and
    everything from a stop string on out."""

    text: str
    tokens: tuple[int, ...]
    sources: tuple[str, ...]
    finish_reason: FinishReason
    stats: Stats
