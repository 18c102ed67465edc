"""More traces than a bundle may hold are thinned out, the same ones in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tascel.records import Records

#: Prompts are held beside the outputs: so many tokens of them for each of the outputs' bound.
PROMPTS = 4
_BITS = 64  # of a key


class Thinned:
    """Of a stream of traces those whose keys end in enough zeros, one of 2**`level`: so few that
    their outputs stay within `cap` tokens, and their prompts within `PROMPTS` times as many.

    What a trace says decides whether it stays, so it does not matter in which order, in how many
    parts or by how many workers a stream is read. One trace stays at least.

    Args:
        level: the stream has been thinned so far already.
    """

    def __init__(self, cap: int, level: int = 0) -> None:
        self.level = level
        self._cap, self._first = cap, level
        self._parts: list[tuple[Records, NDArray[np.uint64]]] = []
        self._outputs = self._prompts = 0

    def add(self, some: Records) -> None:
        """Take or leave the stream's next traces."""
        self._take([self._left(some, some.keys(), self.level)])
        while self._full and self.level < _BITS - 1:
            fewer = [self._left(*part, self.level + 1) for part in self._parts]
            if not any(len(part) for part, _ in fewer):
                return
            self.level += 1
            self._parts, self._outputs, self._prompts = [], 0, 0
            self._take(fewer)

    def records(self) -> Records:
        """Those that stay, in the order they came."""
        return Records.join([part for part, _ in self._parts])

    def _left(
        self, some: Records, keys: NDArray[np.uint64], level: int
    ) -> tuple[Records, NDArray[np.uint64]]:
        at = _left(keys, self._first, level)
        return some.some(at), keys[at]

    def _take(self, parts: Iterable[tuple[Records, NDArray[np.uint64]]]) -> None:
        for part in parts:
            self._parts.append(part)
            self._outputs += len(part[0].outputs.flat) + len(part[0])
            self._prompts += len(part[0].prompts.flat)

    @property
    def _full(self) -> bool:
        return self._outputs > self._cap or self._prompts > PROMPTS * self._cap


def thinned_by(some: Records, level: int, before: int = 0) -> Records:
    """What `level` leaves of traces that were thinned to the level `before`."""
    return some.some(_left(some.keys(), before, level))


def levels_of(some: Records) -> NDArray[np.int64]:
    """The highest level at which each trace stays: i64[n], how many zeros its key ends in."""
    keys = some.keys()
    zeros = np.zeros(len(keys), np.int64)
    for level in range(1, _BITS):
        zeros += (keys & np.uint64((1 << level) - 1)) == 0
    return zeros


def level_for(
    cap: int, outputs: NDArray[np.int64], prompts: NDArray[np.int64], level: int = 0
) -> int:
    """To which level a whole stream is thinned.

    Args:
        outputs: i64[64], of the traces by their highest level: their outputs' tokens and one more
            for each trace.
        prompts: i64[64], their prompts' tokens.
        level: what stays below it has not been counted, since a part alone had too much.
    """
    held = [np.cumsum(counted[::-1])[::-1] for counted in (outputs, prompts)]
    while (
        level < _BITS - 1
        and held[0][level + 1]
        and (held[0][level] > cap or held[1][level] > PROMPTS * cap)
    ):
        level += 1
    return level


def _left(keys: NDArray[np.uint64], before: int, level: int) -> NDArray[np.int64]:
    """Which stay. A model's own answer has another key than the one it replaced, so only the bits
    that nobody has looked at before decide."""
    return np.flatnonzero((keys & np.uint64((1 << level) - (1 << before))) == 0)
