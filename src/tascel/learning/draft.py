"""What the bundle knows and what was learned online, as one draft."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import (
    Attentive,
    Draft,
    Forgetful,
    Proposal,
    Session,
)
from tascel.draft.breaker import Breaker
from tascel.draft.group import propose_by_draft
from tascel.draft.merge import afford, merge, select
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.price import Price
from tascel.learning.config import LearnStats
from tascel.learning.learner import Learner
from tascel.types import FinishReason, Request

#: Of the breaker that watches what was learned: gains saved up, in passes, for it gets better as it
#: goes; and steps of its longest rest, for it is what helps when a task changes.
SAVED, LONGEST_REST = 20.0, 1024


class LearningDraft:
    """Unites, token by token, what the bundle's draft and what was learned online propose, and
    tells the learner what was answered.

    What was learned rests where it does not pay: `offered` and `accepted` count what nobody else
    proposed, and a breaker watches these.
    """

    def __init__(self, learner: Learner, config: DraftConfig) -> None:
        self.learner, self.config = learner, config
        self._breaker: Breaker | None = None
        self._curve = lru_cache(maxsize=64)(_curve)
        self.offered = self.accepted = 0
        self._finalize = finalize(self, learner.close)

    def open(self, request: Request) -> LearningSession:
        """Start a request."""
        resting = self._breaker is not None and self._breaker.resting
        recent = None if resting else self.learner.recent.draft
        return LearningSession(self, request, self.learner.base, recent)

    def propose_many(
        self,
        sessions: Sequence[LearningSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
    ) -> list[Proposal]:
        """Draft for all rows of a batch, of which the pass has `rows_of_pass` in all."""
        rows = rows_of_pass or len(sessions)
        bases = propose_by_draft(
            [session.base_draft for session in sessions], [session.base for session in sessions],
            rooms, price, pending, rows,
        )  # fmt: skip
        able = [row for row, session in enumerate(sessions) if session.recent is not None]
        recents = [Proposal.nothing()] * len(sessions)
        if self.allows(price) and able:
            drafts = [sessions[row].recent_draft for row in able]
            inner = [s for row in able if (s := sessions[row].recent) is not None]
            room = [rooms[row] for row in able]
            found = propose_by_draft(drafts, inner, room, price, pending, rows)
            for row, proposal in zip(able, found, strict=True):
                recents[row] = proposal
        return [
            session.unite(base, recent, price, pending, rows)
            for session, base, recent in zip(sessions, bases, recents, strict=True)
        ]

    def allows(self, price: Price) -> bool:
        """Whether what was learned drafts in this step; asked once a step."""
        if self._breaker is None:
            self._breaker = Breaker(price, SAVED, LONGEST_REST)
        return self._breaker.allows()

    def record(self, offered: int, accepted: int) -> None:
        """Book one pass of one row: tokens that only what was learned proposed."""
        self.offered += offered
        self.accepted += accepted
        if self._breaker is not None and offered:
            self._breaker.record(offered, accepted)

    def unite(
        self, base: Proposal, recent: Proposal, price: Price, pending: int, rows: int
    ) -> Proposal:
        """One proposal of both, as much as pays."""
        if not len(recent) or not len(base):
            return base if len(base) else recent
        if not self.config.trees:
            return max(base, recent, key=lambda one: float(np.nan_to_num(one.trust).sum()))
        union = merge([base, recent])
        width = min(len(union), self.config.most)
        if self.config.priced:
            cost = self._curve(price, pending, rows, 2 * self.config.most)[: width + 1]
            return afford([select(union, np.arange(width))], rows, cost)[0]
        return select(union, np.arange(width))

    def stats(self) -> LearnStats:
        """How learning goes; from any thread."""
        return self.learner.stats(self.offered, self.accepted)

    def warm(self) -> None:
        """Run every kernel once."""
        if isinstance(self.learner.base, NgramDraft):
            self.learner.base.warm()

    def forget(self) -> None:
        """As freshly loaded: what requests taught trust, and answers that no file holds yet, are
        dropped. What was written down belongs to the bundle."""
        self._breaker = None
        self.offered = self.accepted = 0
        if isinstance(self.learner.base, Forgetful):
            self.learner.base.forget()
        self.learner.forget()

    def start(self) -> None:
        """Learn from now on."""
        self.learner.start()

    def close(self) -> None:
        """Write down what was learned, and stop learning."""
        self._finalize()


class LearningSession:
    """One request in the bundle's draft and, if that drafts, in what was learned; each goes on with
    the draft it began with."""

    def __init__(
        self, draft: LearningDraft, request: Request, base: Draft, recent: NgramDraft | None
    ) -> None:
        self._draft, self._request = draft, request
        self.base_draft, self.recent_draft = base, recent
        self.base = base.open(request)
        self.recent: Session | None = None
        if recent is not None:
            self.recent = draft.learner.guarded(lambda: recent.open(request))
        self._written: list[int] = []
        self._proposed: tuple[Proposal, Proposal] | None = None

    @property
    def task(self) -> str:
        """Whose draft serves; only there if the bundle has several tasks."""
        found: str = getattr(self.base, "task")  # noqa: B009
        return found

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`."""
        base = self.base.propose(room, price, pending)
        recent = Proposal.nothing()
        if self._draft.allows(price) and self.recent is not None:
            recent = self.recent.propose(room, price, pending)
        return self.unite(base, recent, price, pending, 1)

    def unite(
        self, base: Proposal, recent: Proposal, price: Price, pending: int, rows: int
    ) -> Proposal:
        """One proposal of both, noted until the pass is over."""
        self._proposed = (base, recent) if len(recent) else None
        return self._draft.unite(base, recent, price, pending, rows)

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written: each is told of what it proposed itself."""
        self._written += tokens
        proposed, self._proposed = self._proposed, None
        if proposed is None:
            self.base.accept(tokens, offered, taken)
        else:
            self._settle(tokens, offered, taken, *proposed)
        if self.recent is not None:
            self.recent.accept(tokens, offered, taken)

    def _settle(
        self,
        tokens: Sequence[int],
        offered: Proposal,
        taken: int,
        base: Proposal,
        recent: Proposal,
    ) -> None:
        ours, theirs = shared(offered, base), shared(offered, recent)
        path = _path(offered, tokens[:taken])
        mine = np.flatnonzero(ours)
        self.base.accept(tokens, select(offered, mine), int(ours[path].sum()))
        alone = theirs & ~ours
        self._draft.record(int(alone.sum()), int(alone[path].sum()))

    def finish(self, reason: FinishReason) -> None:
        """The answer is whole: learned, unless it was cut."""
        if isinstance(self.base, Attentive):
            self.base.finish(reason)
        if reason == "stop":
            self._draft.learner.learn(self._request, self._written)

    def close(self) -> None:
        """Nothing else outlives the request."""
        self.base.close()
        if self.recent is not None:
            self.recent.close()


def shared(offered: Proposal, part: Proposal) -> NDArray[np.bool_]:
    """Which nodes of what was offered `part` has, too, below the same path: bool[W]."""
    found = np.zeros(len(offered), np.bool_)
    if not len(part):
        return found
    places: dict[tuple[int, int], int] = {}
    for node, key in enumerate(zip(part.parents.tolist(), part.tokens.tolist(), strict=True)):
        places.setdefault(key, node)
    same = {-1: -1}  # nodes of what was offered that `part` has -> where it has them
    nodes = zip(offered.parents.tolist(), offered.tokens.tolist(), strict=True)
    for node, (parent, token) in enumerate(nodes):
        above = same.get(parent)
        at = None if above is None else places.get((above, token))
        if at is not None:
            same[node] = at
            found[node] = True
    return found


def _path(offered: Proposal, taken: Sequence[int]) -> list[int]:
    """The nodes of the tokens that were taken from what was offered."""
    path: list[int] = []
    for token in taken:
        above = path[-1] if path else -1
        below = np.flatnonzero((offered.parents == above) & (offered.tokens == token))
        if not len(below):
            break
        path.append(int(below[0]))
    return path


def _curve(price: Price, pending: int, rows: int, most: int) -> NDArray[np.float64]:
    return price.curve(pending, most, rows)
