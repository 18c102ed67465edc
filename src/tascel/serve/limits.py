"""What one server takes on. Every limit has a status code; docs/serve.md lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a request and of all of them together.

    Attributes:
        rows: answers that share a pass.
        queue: answers that may wait for a row.
        choices: answers to one call, prompts times `n`.
        body: bytes of a request.
        prompt: tokens of a prompt; None leaves it to the model's context.
        tokens: tokens of an answer; also what a request gets that names no number.
        seconds: from a request's arrival to the last byte of its answer.
        stall: seconds that a reader may leave a full buffer standing.
        drain: seconds that answers under way get when the server is told to end.
    """

    rows: int = 16
    queue: int = 256
    choices: int = 32
    body: int = 4 << 20
    prompt: int | None = None
    tokens: int = 1024
    seconds: float = 600.0
    stall: float = 30.0
    drain: float = 30.0
