"""Steps of many answers: kept, and counted up to what drafts did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tascel.decode.watch import Step
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.types import SOURCES, Request

#: Answers whose steps are kept: a bound on memory, and many more than the counts need.
MOST = 5000


@dataclass(slots=True)
class Recorder:
    """A watch that keeps the steps of each request's last answer, for the first so many requests
    by their ids."""

    most: int = MOST
    answers: dict[str, list[Step]] = field(default_factory=dict[str, list[Step]])

    def __call__(self, request: Request, step: Step) -> None:
        """Keep a step; one that writes the first token begins the answer anew."""
        if step.written == 0 and (request.id in self.answers or len(self.answers) < self.most):
            self.answers[request.id] = []
        if request.id in self.answers:
            self.answers[request.id].append(step)


def drafting(answers: Iterable[Sequence[Step]], price: Price | None) -> dict[str, Any]:
    """What drafts did, in the stable output format of `bench` and `replay`.

    A pass that reads a prompt counts where it was drafted for, but not in `hindsight`: what it
    costs depends on the prompt. `tokens_written`[n] counts passes that wrote n tokens. In
    `positions`, `drafted` counts drafts of so many tokens or more one behind the other, `accepted`
    those that were right so far. In `sources`, `offered` and `accepted` count tokens, in all and in
    `positions` by [position, offered, accepted]. `hindsight` is None without a price of passes of
    one row, or without such a pass, see `_hindsight`.
    """
    count, every = 0, list[Step]()
    for steps in answers:
        count += 1
        every += [step for step in steps if step.written or len(step.offered)]
    later = [step for step in every if step.written]
    written = Counter(len(step.tokens) for step in every)
    return {
        "answers": count,
        "passes": len(every),
        "drafted_passes": sum(len(step.offered) > 0 for step in every),
        "tokens_written": [written[n] for n in range(max(written, default=0) + 1)],
        "positions": _positions(every),
        "sources": _sources(every),
        "hindsight": _hindsight(later, price) if later and price is not None else None,
    }


def depths(offered: Proposal) -> list[int]:
    """Where each node of a tree stands: 1 right behind what is known."""
    found: list[int] = []
    parents: list[int] = offered.parents.tolist()
    for parent in parents:
        found.append(1 if parent < 0 else found[parent] + 1)
    return found


def _positions(steps: Sequence[Step]) -> list[dict[str, int]]:
    deepest = Counter(max(depths(step.offered), default=0) for step in steps)
    right = Counter(len(step.path) for step in steps)
    return [
        {
            "position": at,
            "drafted": sum(n for deep, n in deepest.items() if deep >= at),
            "accepted": sum(n for deep, n in right.items() if deep >= at),
        }
        for at in range(1, max(deepest, default=0) + 1)
    ]


def _sources(steps: Sequence[Step]) -> dict[str, dict[str, Any]]:
    offered, accepted = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for step in steps:
        codes: list[int] = step.offered.source.tolist()
        nodes = [*zip(codes, depths(step.offered), strict=True)]
        offered.update(nodes)
        accepted.update(nodes[node] for node in step.path)
    found: dict[str, dict[str, Any]] = {}
    for code, name in enumerate(SOURCES):
        places = sorted(at for own, at in offered if own == code)
        if places:
            by_place = [[at, offered[code, at], accepted[code, at]] for at in places]
            _, all_offered, all_accepted = np.sum(by_place, axis=0).tolist()
            found[name] = {
                "offered": all_offered, "accepted": all_accepted, "positions": by_place,
            }  # fmt: skip
    return found


def _hindsight(steps: Sequence[Step], price: Price) -> dict[str, Any]:
    """Each pass beside the best it could have been: with so many of its accepted tokens drafted,
    and no others, that a token took least by the price.

    `lengths` are [drafted, best, passes]; `cut_short` is the share of drafts that were right down
    to a tip where the answer went on: longer ones may have been right, too, but nobody knows what
    they would have gone on with. The milliseconds are of a token, `ms_of_one` without drafts.
    """
    lengths, chosen, best, short = Counter[tuple[int, int]](), 0.0, 0.0, 0
    tokens = sum(len(step.tokens) for step in steps)
    for step in steps:
        width, right = len(step.offered), len(step.path)
        cost = price.curve(1, width)
        # Behind an answer's last token the model writes none of its own.
        each = cost[: right + 1] / np.minimum(np.arange(1, right + 2), len(step.tokens))
        least = right - int(np.argmin(each[::-1]))  # of equals the longer
        lengths[width, least] += 1
        chosen += float(cost[-1])
        best += float(each[least]) * len(step.tokens)
        tip = step.path[-1] if right else -1
        went_on = len(step.tokens) > right
        short += bool(right and went_on and not np.any(step.offered.parents == tip))
    drafted = sum(n for (width, _), n in lengths.items() if width)
    return {
        "lengths": [[width, least, n] for (width, least), n in sorted(lengths.items())],
        "ms_a_token": chosen / max(1, tokens),
        "ms_a_token_best": best / max(1, tokens),
        "ms_of_one": price.plain(),
        "cut_short": short / max(1, drafted),
    }


def by_task(tasks: Sequence[str | None]) -> Mapping[str, list[int]]:
    """Which answers were served by which task's draft, the most frequent first; nothing where
    there is but one."""
    found: dict[str, list[int]] = {}
    for at, task in enumerate(tasks):
        if task is not None:
            found.setdefault(task, []).append(at)
    if len(found) < 2:
        return {}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
