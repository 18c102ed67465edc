"""Traces as drafts and clusters see them, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

from tascel.draft.features import Features
from tascel.draft.kernels.copying import Words
from tascel.draft.reader import Reader
from tascel.types import Ids

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Made(Sequence[T]):
    """`make(i)` for each i of `at`, made anew whenever it is asked for."""

    make: Callable[[int], T]
    at: Sequence[int]

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            return Made(self.make, self.at[at])
        return self.make(self.at[at])

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Traces: `prompts` and `outputs` i32[n] each, the prompts' `words`, what prompts and outputs
    are `about` and `said`."""

    prompts: Sequence[Ids]
    outputs: Sequence[Ids]
    words: Sequence[Words]
    about: Sequence[Features]
    said: Sequence[Features]

    @staticmethod
    def of(prompts: Sequence[Ids], outputs: Sequence[Ids], reader: Reader) -> Seen:
        """As `reader` sees them, each when it is asked for: all at once they fill the memory."""
        every = range(len(prompts))
        return Seen(
            prompts,
            outputs,
            Made(lambda i: reader.words(prompts[i]), every),
            Made(lambda i: reader.about(prompts[i]), every),
            Made(lambda i: reader.about(outputs[i]), every),
        )

    def some(self, at: Sequence[int]) -> Seen:
        """Those with these numbers."""
        return Seen(
            [self.prompts[i] for i in at],
            [self.outputs[i] for i in at],
            Made(self.words.__getitem__, at),
            Made(self.about.__getitem__, at),
            Made(self.said.__getitem__, at),
        )

    def read(self) -> Seen:
        """The same, all of it in memory: for few, or for those that are asked for often."""
        return Seen(self.prompts, self.outputs, [*self.words], [*self.about], [*self.said])

    def __len__(self) -> int:
        return len(self.outputs)
