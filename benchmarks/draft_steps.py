"""Who drafts, and how long a step takes: microseconds of Python calls at the same positions.

Used by draft_speed.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any

import numpy as np

from tascel.codec import Codec
from tascel.draft import ngram
from tascel.draft.corpus import Corpus
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.price import Price, typical
from tascel.draft.reader import Reader
from tascel.types import Ids, Request

Answers = list[tuple[Ids, Ids]]  # prompt and output
SHAPES = {"chain of 16": DraftConfig(most=16, trees=False), "tree of 32": DraftConfig(most=32)}
PRICE = typical()
FREE = Price.free()
ROOM, ROWS = 512, 16
DEPTHS = (64, 24)  # of arctic's tree: its own default, which is timed, and vLLM's
FLUSHED = 8  # answers walked with cold caches


@dataclass(frozen=True)
class Task:
    """Train answers to learn from, trust learned on a sample of them, and answers held out of both.
    Without a `reader` drafts look at no prompt."""

    codec: Codec
    reader: Reader | None
    answers: Answers
    trust: Any
    held: Answers


# ---- Who is timed: `ask` and `accept`; `ready` and `look` are not


class Ours:
    """The Python calls that the loop makes. `kernel`: nanoseconds of the compiled part of `ask`."""

    name = "tascel"

    def __init__(self, task: Task, known: Knowledge, config: DraftConfig, price: Price) -> None:
        # what one way has looked up helps no other
        corpus, forms = (Corpus(c.text, c.array) for c in (known.corpus, known.templates))
        known = replace(known, corpus=corpus, templates=forms)
        self.price, self.kernel = price, list[int]()
        self.draft = NgramDraft(known, task.trust, task.reader, task.codec.eos_ids, config)
        self.draft.warm()

    def open(self, prompt: Ids) -> None:
        self.session = self.draft.open(Request("", prompt))

    def ready(self) -> None:
        compiled.ns = self.kernel

    def ask(self) -> None:
        self.offered = self.session.propose(ROOM, self.price)

    def look(self, token: int) -> int:
        self.taken = int(token in self.offered.tokens[self.offered.parents < 0])
        return len(self.offered)

    def accept(self, tokens: list[int]) -> None:
        self.session.accept(tokens, self.offered, self.taken)

    def close(self) -> None:
        self.session.close()


class Compiled:
    """Stands where the draft calls its kernel and notes how long that takes."""

    def __init__(self, kernel: Callable[..., None]) -> None:
        self.kernel, self.ns = kernel, list[int]()

    def __call__(self, *args: object) -> None:
        start = perf_counter_ns()
        self.kernel(*args)
        self.ns.append(perf_counter_ns() - start)


compiled = Compiled(ngram._grow)
ngram._grow = compiled


class Arctic:
    """arctic-inference's suffix tree."""

    name = "arctic"

    def __init__(self, cache: Any, config: DraftConfig, price: Price) -> None:
        self.cache, self.kernel = cache, list[int]()
        self.asked = {"max_spec_tokens": config.most, "use_tree_spec": config.trees}
        if price is FREE:  # all that are asked for, however short the match, however unlikely
            self.asked |= {"max_spec_offset": 1e6, "min_token_prob": 0.0}

    def open(self, prompt: Ids) -> None:
        self.known = prompt
        self.cache.start_request(id(self), prompt)

    def ready(self) -> None:
        self.context = self.known[-DEPTHS[0] :].copy()

    def ask(self) -> None:
        self.offered = self.cache.speculate(id(self), self.context, **self.asked)

    def look(self, token: int) -> int:
        return len(self.offered.token_ids)

    def accept(self, tokens: list[int]) -> None:
        self.cache.add_active_response(id(self), tokens)
        self.known = np.append(self.known, np.array(tokens, np.int32))

    def close(self) -> None:
        self.cache.stop_request(id(self))
        self.cache.evict_cached_response(id(self))


# ---- Figures


def clocked(call: Callable[..., object], *args: object) -> int:
    """Nanoseconds of a call."""
    start = perf_counter_ns()
    call(*args)
    return perf_counter_ns() - start


def spread(ns: Sequence[int]) -> dict[str, float]:
    """Microseconds by quantile."""
    values = np.percentile(np.array(ns) / 1000, (10, 50, 90, 99)).round(2).tolist()
    names = ("p10", "median", "p90", "p99")
    return {"calls": len(ns), **dict(zip(names, values, strict=True))}


def walk(way: Ours | Arctic, answers: Answers, pause: Callable[[], object]) -> list[list[int]]:
    """At every position nanoseconds to ask and to accept, and tokens drafted."""
    seen: list[list[int]] = []
    for prompt, output in answers:
        way.open(prompt)
        for token in output.tolist():
            way.ready()
            pause()
            asked = clocked(way.ask)
            width = way.look(token)
            seen.append([asked, clocked(way.accept, [token]), width])
        way.close()
    return seen


def steps(
    ways: Sequence[Ours | Arctic], rounds: Sequence[Answers], flush: bool
) -> list[dict[str, Any]]:
    """Each way drafts at every position, the ways in turns; the first round only warms up."""
    ballast = np.zeros(64 << 17, np.int64)  # 64 MB: more than the caches hold

    def pause() -> None:
        if flush:
            np.add(ballast, 1, out=ballast)

    seen: list[list[list[int]]] = [[] for _ in ways]
    for number, answers in enumerate(rounds):
        for turn in range(len(ways)):
            at = (turn + number) % len(ways)
            if number == 1:
                ways[at].kernel.clear()
            rows = walk(ways[at], answers, pause if number else lambda: None)
            seen[at] += rows if number else []
    table: list[dict[str, Any]] = []
    for way, rows in zip(ways, seen, strict=True):
        ask, accept, width = zip(*rows, strict=True)
        row = {"who": way.name, "drafted": round(float(np.mean(width)), 2), "ask": spread(ask)}
        row |= {"kernel": spread(way.kernel)} if way.kernel else {}
        table.append(row | {"accept": spread(accept)})
    return table


def speeds(task: Task, known: Knowledge, cache: Any, repeats: int) -> list[dict[str, Any]]:
    """Chains and trees, priced and as large as they may be, caches warm and flushed."""
    size = len(task.held) // (repeats + 1)
    rounds = [task.held[i * size : (i + 1) * size] for i in range(repeats + 1)]
    table: list[dict[str, Any]] = []
    for shape, config in SHAPES.items():
        for price in (PRICE, FREE):
            for flush in (False, True):
                ways: list[Ours | Arctic] = [Ours(task, known, config, price)]
                ways += [Arctic(cache, config, price)] if cache is not None else []
                about = {"shape": shape, "tokens": len(known.corpus), "priced": price is PRICE}
                walked = [rounds[0], rounds[1][:FLUSHED]] if flush else rounds
                for row in steps(ways, walked, flush):
                    table.append(about | {"flushed": flush} | row)
    return table


def batches(task: Task, known: Knowledge, cache: Any) -> list[dict[str, Any]]:
    """`propose_many` over 16 rows beside 16 calls; a batch ends with its shortest answer."""
    table: list[dict[str, Any]] = []
    for shape, config in SHAPES.items():
        ours = [Ours(task, known, config, PRICE) for _ in range(2 * ROWS)]
        theirs = [Arctic(cache, config, PRICE) for _ in range(ROWS)]
        for i, way in enumerate(ours):  # one draft for all rows asked at once, one for the others
            way.draft = ours[i // ROWS].draft
        ways, many, rooms = [*ours, *theirs], ours[0].draft, [ROOM] * ROWS
        ns: dict[str, list[int]] = {"propose_many": [], "a call a row": [], "arctic": []}
        for first in range(0, len(task.held) - ROWS + 1, ROWS):
            prompts, outputs = zip(*task.held[first : first + ROWS], strict=True)
            for way, prompt in zip(ways, prompts * 3, strict=True):
                way.open(prompt)
            sessions = [way.session for way in ours[:ROWS]]
            columns = zip(*(output.tolist() for output in outputs), strict=False)
            for at, tokens in enumerate(columns):
                for way in ways:
                    way.ready()
                for turn in range(3):  # the first one finds the caches colder
                    who = [*ns][(at + turn) % 3]
                    if who == "propose_many":
                        start = perf_counter_ns()
                        offers = many.propose_many(sessions, rooms, PRICE, len(sessions))
                        ns[who].append(perf_counter_ns() - start)
                    else:
                        rows = theirs if who == "arctic" else ours[ROWS:]
                        ns[who].append(sum(clocked(way.ask) for way in rows))
                for way, offer in zip(ours[:ROWS], offers, strict=True):
                    way.offered = offer
                for way, token in zip(ways, tokens * 3, strict=True):
                    way.look(token)
                    way.accept([token])
            for way in ways:
                way.close()
        table += [{"shape": shape, "who": who, "call": spread(n)} for who, n in ns.items()]
    return table
