"""Which new tokens a task gets: so many as asked, or as many as pay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tascel.adapt.tokens.curve import Point, curve, numbered, uses, without_rare
from tascel.adapt.tokens.mining import Mined, MiningConfig, Refuse, Refused, mine
from tascel.codec import Codec
from tascel.errors import TraceError
from tascel.token_bytes import TokenBytes
from tascel.traces.folds import folds, groups
from tascel.types import Ids, Trace

#: Told (stage, done, total).
Progress = Callable[[str, int, int | None], None]
Flags = NDArray[np.bool_]
#: A row that is trained on fewer examples is worth less than its constituents, which are known.
LEAST_USES = 30
#: Rows that "auto" looks at.
MOST = 4_000
#: One fold in so many is held out.
_FOLDS = 5


@dataclass(frozen=True)
class Choice:
    """New tokens for a task, and what they do to the outputs that they were mined from.

    Attributes:
        asked: how many were wanted; None for as many as pay.
        runs: base ids of each, most saving first.
        uses: of each, in the shortest segmentation of all outputs.
        refused: n-grams that became no token, most saving first.
        curve: what the first so many save on held-out outputs; empty where none can be held out.
        outputs: how many there are.
        base, shortest, longest: their tokens in the base vocabulary, and with the new tokens by
            shortest segmentation and by longest match.
    """

    asked: int | None
    runs: list[tuple[int, ...]]
    uses: list[int]
    refused: list[Refused]
    curve: list[Point]
    outputs: int
    base: int
    shortest: int
    longest: int

    @property
    def reasons(self) -> Counter[str]:
        """How many n-grams were refused for each reason."""
        return Counter(refused.why for refused in self.refused)

    @property
    def note(self) -> str | None:
        """What whoever asked should know: there are fewer, or none; None if all is as asked."""
        if not self.runs and self.asked != 0:
            return (
                f"nothing to gain from new tokens: no n-gram of the {self.outputs:,} outputs, "
                f"{self.base / max(1, self.outputs):.1f} tokens each, occurs often enough"
            )
        if self.asked is not None and len(self.runs) < self.asked:
            return (
                f"the outputs have only {len(self.runs):,} frequent n-grams that may become "
                f"tokens, {self.asked:,} were asked for"
            )
        return None


def choose(
    traces: Sequence[Trace],
    codec: Codec,
    refuse: Refuse,
    size: int | None,
    row_cost: float,
    config: MiningConfig | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Choice:
    """New tokens for the answers of `traces`.

    Without a `size`, as many as pay. On a held-out fold that no similar trace is left in: the rows
    with which its tokens, times what a step then costs, are fewest. Only n-grams with `LEAST_USES`
    or more become tokens then, and those left with fewer by the shortest segmentation are dropped.

    Args:
        codec: of the base model.
        refuse: what the tokenizer has against a run of base ids.
        row_cost: what a row adds to a step, as a share of it (see `cost.row_cost`).
        config: `size` in it is not looked at.

    Raises:
        TraceError: no trace has an answer.
    """
    answered = [trace for trace in traces if trace.answer is not None]
    if not answered:
        raise TraceError("no trace has an answer to mine", "Give traces with an `output`")
    config = replace(config or MiningConfig(), size=MOST if size is None else size)
    if size is None:
        config = replace(config, least_uses=max(LEAST_USES, config.least_uses))
    task = _Task(codec, refuse, progress)
    outputs: list[Ids] = []
    for at, (_, output) in enumerate(codec.answers(answered), 1):
        outputs.append(output)
        progress("reading outputs", at, len(answered))
    points: list[Point] = []
    if config.size and len(answered) > 1:
        points = task.curve(outputs, _held_out(answered), config, row_cost)
    best = min(points, key=lambda point: point.time, default=None)
    if size is None and best is not None and best is not points[-1]:  # some did not pay
        config = replace(config, size=best.rows)
    mined = task.mine("mining", outputs, config)
    text, runs = np.concatenate(outputs), mined.runs
    if size is None:
        runs = without_rare(runs, text, codec.vocab_size, LEAST_USES)
    new = numbered(runs, codec.vocab_size)
    shortest = new.shorten(text)
    return Choice(
        size,
        runs,
        uses(len(runs), shortest, codec.vocab_size).tolist(),
        mined.refused,
        points,
        len(outputs),
        len(text),
        len(shortest),
        len(new.longest(text)),
    )


@dataclass(frozen=True)
class _Task:
    codec: Codec
    refuse: Refuse
    progress: Progress

    def mine(self, stage: str, outputs: Sequence[Ids], config: MiningConfig) -> Mined:
        def told(rows: int) -> None:
            self.progress(stage, rows, None)

        tokenizer = self.codec.tokenizer
        never = self.codec.eos_ids | tokenizer.get_added_tokens_decoder().keys()
        return mine(outputs, config, TokenBytes(tokenizer), self.refuse, never, told)

    def curve(
        self, outputs: Sequence[Ids], held_out: Flags, config: MiningConfig, row_cost: float
    ) -> list[Point]:
        kept = [output for output, out in zip(outputs, held_out, strict=True) if not out]
        rest = [output for output, out in zip(outputs, held_out, strict=True) if out]
        runs = self.mine("mining to measure", kept, config).runs
        texts = np.concatenate(kept), np.concatenate(rest)
        return [*curve(runs, *texts, self.codec.vocab_size, row_cost, LEAST_USES)]


def _held_out(traces: Sequence[Trace]) -> Flags:
    """Which traces are held out: the smallest fold that any is in."""
    fold = folds(groups(traces), _FOLDS)
    sizes = np.bincount(fold)
    return fold == min(np.flatnonzero(sizes), key=lambda at: int(sizes[at]))
