"""How to learn online, and how it goes."""

from __future__ import annotations

from dataclasses import dataclass

DAY = 86_400.0  # seconds
#: Prompts may have so many tokens for each that answers may have.
PROMPTS = 8


@dataclass(frozen=True, slots=True)
class LearnConfig:
    """What is learned online, and how much of it is kept: the most useful.

    An answer counts as one use when it is new, and as more each time a similar prompt was drafted
    with it; what counts is halved every `half_life` days. Beyond `tokens` of answers, or eight
    times as many of their prompts, the least useful go, and all that is older than `days`.

    Attributes:
        tokens: of all answers that are kept.
        days: how old an answer may be, by an hour at most; None for any age.
        half_life: in days.
        flush: seconds that an answer may wait until it is written to the disk; also how often is
            looked at what other processes have written there.
        written: False keeps what is learned in memory only, where it ends with the process.
        background: False learns on the thread that decodes, between two answers: repeatable, for
            tests and measurements.
    """

    tokens: int = 1_000_000
    days: float | None = None
    half_life: float = 7.0
    flush: float = 5.0
    written: bool = True
    background: bool = True

    def __post_init__(self) -> None:
        checks = {
            f"learns at most {self.tokens} tokens: give at least one": self.tokens >= 1,
            f"keeps answers for {self.days} days: give more than none": (self.days or 1.0) > 0,
            f"a half-life of {self.half_life} days: give more than none": self.half_life > 0,
            f"flushes every {self.flush} seconds: give 0 or more": self.flush >= 0,
        }
        for what, holds in checks.items():
            if not holds:
                raise ValueError(what)

    def worth(self, uses: float, time: float, now: float) -> float:
        """What `uses`, counted as of `time`, are worth `now`, both in seconds since 1970."""
        return uses * self.growth(now, time)

    def growth(self, time: float, now: float) -> float:
        """What a use `now` counts beside one at `time`: the younger the more."""
        return float(2.0 ** min(100.0, (now - time) / (DAY * self.half_life)))


@dataclass(frozen=True, slots=True)
class LearnStats:
    """How learning goes.

    Attributes:
        traces: answers in memory, from which is drafted.
        tokens: of these answers.
        learned: answers that this process has learned.
        repeated: those of them that were there already, and were counted only.
        unflushed: answers that no file holds yet.
        lost: answers that were given up unwritten, since the disk took none for too long.
        errors: what went wrong, times in all; generation went on.
        last_error: what it was, None if all is well again.
        offered: tokens that only what was learned online proposed, and
        accepted: those of them that were right.
        learns: how often what was learned was indexed anew, and
        seconds: what all work in the background took, by the processor's clock.
    """

    traces: int = 0
    tokens: int = 0
    learned: int = 0
    repeated: int = 0
    unflushed: int = 0
    lost: int = 0
    errors: int = 0
    last_error: str | None = None
    offered: int = 0
    accepted: int = 0
    learns: int = 0
    seconds: float = 0.0
