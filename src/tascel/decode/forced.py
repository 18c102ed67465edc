"""Drafts led along known answers, token by token: teacher-forced, so it needs no model.

Every draft walks along the same answers, interleaved. A pass costs what the price file says, the
draft's own time is measured, and the sum is compared with one pass a token. Nobody drafts the first
token, which the prefill brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from tascel.decode.answer import Routed
from tascel.decode.walk import follow as along
from tascel.decode.walk import trim
from tascel.decode.watch import Step, Watch
from tascel.draft.base import Attentive, Draft, Forgetful, Proposal
from tascel.draft.breaker import SAVED, Breaker
from tascel.draft.price import Price
from tascel.types import SOURCES, Ids, Request


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A known answer: `prompt` i32[n], `output` i32[m] with its closing id; `asked` is what people
    see of the prompt."""

    prompt: Ids
    output: Ids
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for everybody: the price, and what the engine could check.

    Answers are cut at `max_tokens`, which alone decides how deep a draft may grow: an answer's
    length is never told. Breakers save up so much of what drafting earns as `saved` says.
    """

    price: Price
    vocab_size: int
    trees: bool = True
    max_tokens: int = 512
    saved: float = SAVED


@dataclass(frozen=True, slots=True)
class Entrant:
    """A draft, whether a breaker may rest it as in the decode loop, and what hears its steps."""

    draft: Draft
    guarded: bool = False
    watch: Watch | None = None


@dataclass(slots=True)
class Cost:
    """What one draft made of one answer: counts after its first token, and milliseconds. What a
    draft that learns did once the answer was whole delays what comes next, not this answer, and is
    not charged. `task` is whose draft served, None if there are not several."""

    tokens: int = 0
    steps: int = 0
    offered: int = 0
    rejects: int = 0
    pass_ms: float = 0.0
    draft_ms: float = 0.0
    accepted: Counter[str] = field(default_factory=Counter[str])
    task: str | None = None

    @property
    def ms(self) -> float:
        """All that is charged."""
        return self.pass_ms + self.draft_ms


def follow(
    entrants: Mapping[str, Entrant],
    examples: Sequence[Example],
    rules: Rules,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[Cost]]:
    """Let all walk along each answer before the next; who begins changes from one to the next.

    Everybody has walked the first answer once before the clock counts. What that taught is undone:
    ours forgets, and a draft that keeps answers by request sees the same request again.
    """
    names = list(entrants)
    for name in names:
        draft = entrants[name].draft
        _walk(Entrant(draft), examples[0], "0", rules, None)
        if isinstance(draft, Forgetful):
            draft.forget()
    breakers = {
        n: Breaker(rules.price, rules.saved) if e.guarded else None for n, e in entrants.items()
    }
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for at, example in enumerate(examples):
        first = at % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(_walk(entrants[name], example, str(at), rules, breakers[name]))
        progress(at + 1, len(examples))
    return costs


def _walk(
    entrant: Entrant, example: Example, id_: str, rules: Rules, breaker: Breaker | None
) -> Cost:
    """One draft along one answer, step by step as the decode loop would go."""
    answer: list[int] = example.output[: rules.max_tokens].tolist()
    cost, written = Cost(tokens=len(answer) - 1), 1
    started = perf_counter()
    request = Request(id_, example.prompt, max_tokens=rules.max_tokens)
    session = entrant.draft.open(request)
    session.accept(answer[:1], Proposal.nothing(), 0)
    seconds = perf_counter() - started
    cost.task = session.task if isinstance(session, Routed) else None
    if entrant.watch is not None:
        entrant.watch(request, Step(0, Proposal.nothing(), [], answer[:1]))
    while written < len(answer):
        offered, room = Proposal.nothing(), rules.max_tokens - written - 1
        if (breaker is None or breaker.allows()) and room > 0:
            started = perf_counter()
            offered = session.propose(room, rules.price)
            seconds += perf_counter() - started
            offered = trim(offered, room, rules.vocab_size, rules.trees)
        step = along(offered, answer[written:])
        tokens, path = [t for t, _ in step], [node for _, node in step if node >= 0]
        started = perf_counter()
        session.accept(tokens, offered, len(path))
        seconds += perf_counter() - started
        if breaker is not None and len(offered):
            breaker.record(len(offered), len(path))
        if entrant.watch is not None:
            entrant.watch(request, Step(written, offered, path, tokens))
        written += len(tokens)
        cost.steps += 1
        cost.offered += len(offered)
        refused = len(tokens) > len(path) and np.any(offered.parents == (path or [-1])[-1])
        cost.rejects += bool(refused)
        cost.pass_ms += float(rules.price.curve(1, len(offered))[-1])
        cost.accepted.update(SOURCES[int(source)] for source in offered.source[path])
    if isinstance(session, Attentive):
        session.finish("stop" if len(answer) == len(example.output) else "length")
    session.close()
    cost.draft_ms = 1000 * seconds
    return cost


def speedup(costs: Sequence[Cost], rules: Rules) -> float:
    """One pass a token over what was charged."""
    return float(rules.price.plain()) * sum(c.tokens for c in costs) / sum(c.ms for c in costs)
