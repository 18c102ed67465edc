"""What each pass of an answer was offered and what it took of that, for whoever looks closer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tascel.draft.base import Proposal
from tascel.types import Request


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One pass of one answer, of which `written` tokens stood before it.

    `offered` is what was checked, of all sources; `path` its accepted nodes, root first; `tokens`
    what the pass wrote: those of the path, then the model's own unless the answer ended before.
    """

    written: int
    offered: Proposal
    path: Sequence[int]
    tokens: Sequence[int]


#: Hears every step of every answer, once it is booked: no answer's time counts what this takes.
Watch = Callable[[Request, Step], None]
