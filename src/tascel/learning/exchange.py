"""One past exchange in memory, and which of many are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tascel.learning.config import DAY, PROMPTS, LearnConfig
from tascel.records import Records
from tascel.types import Ids

_MOST_USES = 1e30
#: Seconds that what is too old may stay at most; less if little is kept for long.
_GRACE = 3600.0


@dataclass(slots=True, eq=False)
class Exchange:
    """As one of `Records`; `key` is a hash of prompt and output. Its uses grow."""

    prompt: Ids
    output: Ids
    time: float
    key: int
    uses: float = 1.0
    own: int = 1
    task: str | None = None
    group: str | None = None

    @staticmethod
    def of(prompt: Ids, output: Ids, time: float, task: str | None) -> Exchange:
        """A new one, the model's own answer."""
        prompt, output = np.array(prompt, np.int32), np.array(output, np.int32)
        key = Records.of([prompt], [output], time).keys()[0]
        return Exchange(prompt, output, time, int(key), task=task)

    def use(self, much: float, now: float, config: LearnConfig) -> None:
        """It was of use, 1 for all of an answer."""
        self.uses = min(self.uses + much * config.growth(self.time, now), _MOST_USES)

    def worth(self, now: float, config: LearnConfig) -> float:
        """What its uses are worth now."""
        return config.worth(self.uses, self.time, now)


def exchanges(records: Records) -> list[Exchange]:
    """Each by itself, in arrays of its own."""
    return [
        Exchange(
            records.prompts[i].copy(), records.outputs[i].copy(), float(records.times[i]), int(key),
            float(records.uses[i]), int(records.own[i]), records.tasks[i], records.groups[i],
        )
        for i, key in enumerate(records.keys().tolist())
    ]  # fmt: skip


def recorded(some: Sequence[Exchange]) -> Records:
    """All as arrays."""
    return Records.of(
        [one.prompt for one in some],
        [one.output for one in some],
        np.array([one.time for one in some], np.float64),
        uses=np.array([one.uses for one in some], np.float32),
        own=np.array([one.own for one in some], np.uint8),
        tasks=[one.task for one in some],
        groups=[one.group for one in some],
    )


def united(some: Iterable[Exchange], config: LearnConfig) -> list[Exchange]:
    """Each but once: of equals the first, with all their uses."""
    found: dict[int, Exchange] = {}
    for one in some:
        first = found.setdefault(one.key, one)
        if first is not one:
            first.use(one.worth(one.time, config), one.time, config)
    return [*found.values()]


def kept(some: Sequence[Exchange], config: LearnConfig, now: float) -> list[Exchange]:
    """The most useful that `config` allows, of equals the newest, in the order of their times."""
    young = [one for one in some if not too_old(one.time, config, now)]
    young = [
        one
        for one in young
        if len(one.output) <= config.tokens and len(one.prompt) <= PROMPTS * config.tokens
    ]
    best = sorted(young, key=lambda one: (-one.worth(now, config), -one.time))
    outputs = np.cumsum([len(one.output) for one in best])
    prompts = np.cumsum([len(one.prompt) for one in best])
    fits = (outputs <= config.tokens) & (prompts <= PROMPTS * config.tokens)
    return sorted(best[: int(fits.sum())], key=lambda one: one.time)


def too_old(time: float, config: LearnConfig, now: float) -> bool:
    """Whether an exchange of this time is older than it may be."""
    return config.days is not None and time < now - DAY * config.days


def overdue(oldest: float, config: LearnConfig, now: float) -> bool:
    """Whether the oldest of many is so much too old that all have to be gone through: else that
    would be done for each by itself."""
    grace = min(_GRACE, DAY * (config.days or 0.0) / 24)
    return too_old(oldest, config, now - grace)
