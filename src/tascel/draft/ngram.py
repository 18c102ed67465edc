"""The draft itself: corpus and context matched, mixed by a rule, grown while a token pays."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal
from tascel.draft.breaker import SAVED
from tascel.draft.kernels import growing, learning
from tascel.draft.kernels.evidence import GROUPS, SHARES
from tascel.draft.kernels.growing import Limits, Rows
from tascel.draft.kernels.mixing import Mixer
from tascel.draft.kernels.placing import CONTEXT_AT, DESK_AT, LENGTH, N_MATCHES, ROOM
from tascel.draft.knowledge import Knowledge, nothing_recalled
from tascel.draft.price import Price, flattest
from tascel.draft.reader import Reader
from tascel.draft.slots import no_words
from tascel.draft.state import State
from tascel.draft.trust import Trust
from tascel.types import Ids, Request

#: In the order of the kernels' codes.
Rule = Literal["interpolate", "backoff", "best", "longest", "calibrated"]
RULES: tuple[str, ...] = get_args(Rule)


# Their arguments are tuples unpacked, which a type checker cannot count.
_grow: Callable[..., None] = growing.grow
_move_on: Callable[..., None] = learning.move_on

#: How fast trust follows what is really written, and how fast that fades: a half-life of 700
#: tokens.
DRIFT_RATE, DRIFT_FADE = 0.06, 0.001


@dataclass(frozen=True, slots=True)
class DraftConfig:
    """How sources are mixed and how far a draft may grow.

    `calibrated` (the default) believes each match as far as its like was right on held-out traces.
    The other rules are those of the peers and take shares for probabilities: `interpolate`
    (TASC-spec: n-grams up to `order`, seen `least` times in the corpus, `weight` on the corpus),
    `backoff` (llama.cpp's lookup), `best` (SuffixDecoding), `longest` (SAM-decoding). A draft grows
    to at most `most` tokens, as a tree or a chain, and, if `priced`, only while the next one pays.
    `neighbours` and `slots` are sources of `calibrated` that can be left out; `routed` gives every
    prompt the draft of its task, where the bundle has several. Neural drafts of a bundle may hold
    `neural_bytes` of weights of their own at a time; with 0 there are none. So much of what a
    task's drafts earned is `saved` up for lean stretches, in passes of one token.
    """

    rule: Rule = "calibrated"
    most: int = 64
    trees: bool = True
    priced: bool = True
    order: int = 4
    least: int = 5
    weight: float = 0.75
    neighbours: bool = True
    slots: bool = True
    routed: bool = True
    neural_bytes: int = 512 << 20
    saved: float = SAVED

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"unknown mixing rule {self.rule!r}: {' or '.join(RULES)}")
        if not 0 <= self.most <= 1024:
            raise ValueError(f"a draft of {self.most} tokens: choose 0 to 1024")

    @staticmethod
    def published() -> DraftConfig:
        """TASC-spec as published: n at most 4, count at least 5, 0.75 on the corpus, 10 tokens."""
        return DraftConfig(rule="interpolate", most=10, trees=False, priced=False)


class NgramDraft:
    """Drafts from what a task's traces taught and from each request's own context. Shared by all
    requests, from whose answers `calibrated` goes on learning how far to trust what it finds.

    Without a `reader` prompts are not looked at: no copies, no neighbours. `drift` is another
    draft's, whose place this one takes: what that learned of trust holds on, for both.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        trust: Trust,
        reader: Reader | None,
        eos_ids: Iterable[int],
        config: DraftConfig | None = None,
        drift: NDArray[np.float32] | None = None,
    ) -> None:
        self.config = config = config or DraftConfig()
        fresh = np.zeros((2, GROUPS, SHARES), np.float32)
        self.knowledge, self.reader = knowledge, reader
        sources = knowledge.sources
        self.mixer = Mixer(
            RULES.index(config.rule), config.order, config.least, config.weight,
            trust, fresh if drift is None else drift,
        )  # fmt: skip
        self.drift_rate = DRIFT_RATE if config.rule == "calibrated" else 0.0
        self.tables: tuple[Any, ...] = (
            *sources.index, *sources.templates, *sources[2:], *self.mixer
        )  # fmt: skip
        self.eos_ids = np.array(sorted(eos_ids), np.int32)
        # it knows nothing of this draft, which is gone as soon as nobody uses it any more
        limits = partial(_limits, config, self.eos_ids, len(knowledge.frozen))
        self.limits = lru_cache(maxsize=64)(limits)

    def open(self, request: Request) -> NgramSession:
        """Start a request."""
        return NgramSession(self, request.prompt)

    def propose_many(
        self,
        sessions: Sequence[NgramSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
    ) -> list[Proposal]:
        """Draft for all rows of a batch in one call, each as if it drafted alone.

        `rooms`: at most so many tokens deep, by row. The pass carries `pending` tokens anyway, of
        these rows and maybe of others: `rows_of_pass` in all.
        """
        if not sessions:
            return []
        states = [session.state for session in sessions]
        contexts = [state.context for state in states]
        facts = np.concatenate([state.facts for state in states]).reshape(len(states), -1)
        matches = np.concatenate([state.matches for state in states])
        lengths, sizes = facts[:, LENGTH], [len(state.desk) for state in states]
        facts[:, CONTEXT_AT] = np.cumsum(lengths) - lengths
        facts[:, DESK_AT] = np.cumsum(sizes) - sizes
        facts[:, ROOM] = rooms
        rows = Rows(
            matches=matches.reshape(len(states), 2, *matches.shape[1:]),
            context=np.concatenate([c.tokens[: c.length] for c in contexts]),
            lengths=np.concatenate([c.lengths[: c.length] for c in contexts]),
            desk=np.concatenate([state.desk for state in states]),
            facts=facts,
        )
        return self.propose_rows(rows, self.limits(price, pending, rows_of_pass or len(sessions)))

    def propose_rows(self, rows: Rows, limits: Limits) -> list[Proposal]:
        """One proposal for each row, by the configured rule."""
        if self.config.rule == "best":
            return [self._best(rows, fact, limits) for fact in range(len(rows.facts))]
        return self._grow(rows, limits)

    def _best(self, rows: Rows, r: int, limits: Limits) -> Proposal:
        """Follow each match, and the context, on its own; the highest sum of trust wins
        (SuffixDecoding, Oliaro et al. 2024)."""
        count = int(rows.facts[r, N_MATCHES])
        facts = np.repeat(rows.facts[r : r + 1], count + 1, axis=0)
        facts[:, N_MATCHES] = [1] * count + [0]
        facts[:count, LENGTH] = 0
        matches = np.zeros((count + 1, *rows.matches.shape[1:]), np.int64)
        matches[:count, 0, 0] = rows.matches[r, 0, :count]
        views = self._grow(rows._replace(matches=matches, facts=facts), limits)
        return max(views, key=lambda proposal: float(proposal.trust.sum()))

    def _grow(self, rows: Rows, limits: Limits) -> list[Proposal]:
        """One proposal for each row."""
        shape = (len(rows.facts), len(limits.cost) - 1)
        tokens, parents = np.empty(shape, np.int32), np.empty(shape, np.int16)
        trust, source = np.empty(shape, np.float32), np.empty(shape, np.uint8)
        width = np.empty(shape[0], np.int32)
        _grow(*self.tables, *limits, *rows, tokens, parents, trust, source, width)
        return [
            Proposal(tokens[r, :w], parents[r, :w], trust[r, :w], source[r, :w])
            for r, w in enumerate(width.tolist())
        ]

    def warm(self) -> None:
        """Run every kernel once, so that the first request does not wait for a compiler."""
        prompt = np.array([0, 1, 0], np.int32)
        session = self.open(Request(id="warm", prompt=prompt))
        session.propose(4, Price.free())
        session.accept([0], Proposal.nothing(), 0)
        session.close()
        self.forget()

    def forget(self) -> None:
        """Trust as it was built: what requests taught it is dropped."""
        self.mixer.drift[:] = 0.0


def _limits(
    config: DraftConfig, eos_ids: Ids, vocab_size: int, price: Price, pending: int, rows: int
) -> Limits:
    """What bounds a draft in a pass of so many `rows` and tokens that are `pending`."""
    cost = price.curve(pending, config.most, rows)
    return Limits(
        cost, flattest(cost), float(rows), config.priced, not config.trees, eos_ids, vocab_size
    )


class NgramSession:
    """One request's place in everything the draft knows."""

    def __init__(self, draft: NgramDraft, prompt: Ids) -> None:
        self._draft = draft
        knowledge, reader = draft.knowledge, draft.reader
        words, recalled = no_words(), nothing_recalled()
        if reader is not None and draft.config.slots:
            words = reader.glance(prompt).words
        if reader is not None and draft.config.neighbours:
            recalled = knowledge.recall(reader.glance(prompt).about)
        self.state = State(knowledge.sources, prompt, words, recalled)
        self._only = self.state.matches[None], self.state.facts[None]

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`."""
        return self._draft.propose_rows(self.rows(room), self._draft.limits(price, pending, 1))[0]

    def rows(self, room: int) -> Rows:
        """This request's state as a batch of one."""
        state = self.state
        state.facts[ROOM] = room
        matches, facts = self._only
        return Rows(matches, state.context.tokens, state.context.lengths, state.desk, facts)

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        self._move_on(tokens, self._draft.drift_rate)

    @contextmanager
    def behind(self, tokens: Sequence[int]) -> Generator[None]:
        """As if `tokens` had been written, of which nothing is learned; afterwards as before."""
        state, context, length = self.state, self.state.context, self.state.context.length
        context.reserve(len(tokens))
        changed = (state.matches, state.desk, state.facts, context.lengths)
        kept = [array.copy() for array in changed]
        self._move_on(tokens, 0.0)
        try:
            yield
        finally:
            for array, before in zip(changed, kept, strict=True):
                array[:] = before
            context.length = length

    def _move_on(self, tokens: Sequence[int], rate: float) -> None:
        state, context = self.state, self.state.context
        context.reserve(len(tokens))
        _move_on(
            *self._draft.tables, state.matches, context.tokens, context.lengths, state.desk,
            state.facts, np.asarray(tokens, np.int32), rate, DRIFT_FADE,
        )  # fmt: skip
        context.length += len(tokens)

    def close(self) -> None:
        """Nothing outlives the request but what trust learned from it."""
