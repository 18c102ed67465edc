"""Is the output the same? Proof in fp32, a measured rate elsewhere.

Another width may run another kernel whose sums differ in the last bits, so in fp32 a difference is
a tie if the two logits were within 1e-4 of each other; ties must be rarer than 1 in 10,000 tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tascel.bench.contenders import contenders
from tascel.decode.loop import complete
from tascel.decode.pick import Picker
from tascel.draft.base import Proposal
from tascel.runner import Runner
from tascel.types import Message, Request

TIE = 1e-4
TIES_PER_TOKEN = 1e-4


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an answer first left plain decoding, and how far apart the two tokens were there: in
    logits when greedy, else in what the picking rule compares, noise included."""

    request: str
    against: str
    position: int
    gap: float


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` saw. `equal` is the verdict."""

    prompts: int
    tokens: int
    drafted_share: float
    offered: int
    rejects: int
    block_stops: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """No difference but ties, and those rare enough."""
        places = {(d.request, d.position) for d in self.differences}
        only_ties = all(d.gap <= TIE for d in self.differences)
        return only_ties and len(places) <= self.tokens * TIES_PER_TOKEN


def verify(
    runner: Runner,
    prompts: Sequence[Request | str | Sequence[Message]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Compare drafted answers with our own plain ones and, when greedy, with stock `generate`, if
    transformers runs the model.

    Prompts are requests, or texts or messages for greedy ones with default settings.
    """
    requests = [p if isinstance(p, Request) else runner.request(p) for p in prompts]
    greedy = all(r.plain_greedy and not r.stop for r in requests)
    stock = greedy and runner.model is not None
    names = ["none", *(["transformers"] if stock else [])]
    others = contenders(runner, names)
    tokens = drafted = offered = rejects = block_stops = 0
    differences: list[Difference] = []
    for done, request in enumerate(requests, start=1):
        ours = complete(runner.run(request))
        tokens += len(ours.tokens)
        drafted += sum(ours.stats.accepted.values())
        offered += sum(ours.stats.offered.values())
        rejects += ours.stats.rejects
        block_stops += ours.stats.block_stops
        for name in names:
            theirs = others[name](request).tokens
            if theirs != ours.tokens:
                differences.append(difference(runner, request, name, ours.tokens, theirs))
        progress(done, len(requests))
    return Report(
        prompts=len(requests),
        tokens=tokens,
        drafted_share=drafted / tokens if tokens else 0.0,
        offered=offered,
        rejects=rejects,
        block_stops=block_stops,
        differences=tuple(differences),
    )


def difference(
    runner: Runner, request: Request, against: str, ours: Sequence[int], theirs: Sequence[int]
) -> Difference:
    """Where one answer left another, and how far apart the two tokens were there."""
    pairs = zip(ours, theirs, strict=False)
    shorter = min(len(ours), len(theirs))
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    gap = float("inf")  # one answer goes on where the other has ended: no tie can do that
    if at < shorter:
        prompt = np.concatenate([request.prompt, np.asarray(ours[:at], np.int32)])
        row, shared = runner.engine.open(request.prompt, len(prompt))
        (verdict,) = runner.engine.check([row], [prompt[shared:]], [Proposal.nothing()])
        picker = Picker(request)
        ids, scores = picker.scores(verdict.logits(-1), ours[:at])
        score = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        gap = abs(score.get(ours[at], np.inf) - score.get(theirs[at], -np.inf))
        runner.engine.close(row)
    return Difference(request.id, against, at, gap)
