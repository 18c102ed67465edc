"""A draft for mixed traffic: every prompt gets the draft of its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tascel.decode.walk import ours
from tascel.draft.base import Costly, Draft, Forgetful, Proposal, Session
from tascel.draft.group import propose_by_draft
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price
from tascel.route.classify import Classifier
from tascel.route.policy import Policy
from tascel.types import Request

#: The task of requests that are like none.
UNKNOWN = "unknown"
#: For a draft that reads the prompt first, that costs many passes at once and serves all of the
#: answer: so large a share of what is still due is booked with each pass, the rest at the end.
INSTALMENT = 1 / 8


@dataclass(slots=True, eq=False)
class Lane:
    """One task's drafts, its own first, and who chooses among them. `name` is None where there is
    but one task."""

    name: str | None
    drafts: Sequence[Draft]
    policy: Policy


class RoutedDraft:
    """Classifies each prompt and drafts with what its task has learned; a prompt that is like no
    task is served by what all tasks have learned together. Without a `classifier` there is one
    lane, and all go there. `price` is that of the last pass.
    """

    def __init__(
        self, pooled: NgramDraft, lanes: Sequence[Lane], classifier: Classifier | None
    ) -> None:
        self.pooled, self.lanes, self.classifier = pooled, lanes, classifier
        self._by_name = {lane.name: lane for lane in lanes}
        self.price: Price | None = None

    def open(self, request: Request) -> RoutedSession:
        """Start a request, in the lane it names or else in the likeliest one."""
        lane = self.lane(request)
        if lane is None:
            return RoutedSession(self, self.pooled, self.pooled.open(request), None)
        draft = lane.drafts[lane.policy.choose(self.price)]
        return RoutedSession(self, draft, draft.open(request), lane)

    def lane(self, request: Request) -> Lane | None:
        """The request's task: the one that it names, if there is such a one, else the one that its
        prompt is most like; None if it is like none."""
        if self.classifier is None:
            return self.lanes[0]
        reader = self.pooled.reader
        if request.task in self._by_name or reader is None:
            return self._by_name.get(request.task or "")
        with np.errstate(all="ignore"):  # a damaged bundle may hold any numbers
            guess = self.classifier.classify(reader.glance(request.prompt).about)
        return self.lanes[guess.task] if guess.sure else None

    def propose_many(
        self,
        sessions: Sequence[RoutedSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
    ) -> list[Proposal]:
        """Draft for all rows of a batch, those of one draft in one call, but no lane that rests."""
        lanes = {id(session.lane): session for session in sessions}
        allowed = {key: session.allowed(price) for key, session in lanes.items()}
        drafts = [session.draft if allowed[id(session.lane)] else None for session in sessions]
        inner = [session.inner for session in sessions]
        return propose_by_draft(drafts, inner, rooms, price, pending, rows_of_pass)

    def warm(self) -> None:
        """Run every kernel once, so that the first request does not wait for a compiler."""
        self.pooled.warm()

    def forget(self) -> None:
        """What requests taught trust and policies is dropped."""
        self.price = None
        self.pooled.forget()
        for lane in self.lanes:
            lane.policy.forget()
            for draft in lane.drafts:
                if isinstance(draft, Forgetful):
                    draft.forget()


class RoutedSession:
    """A request in its `lane`, None if it is like no task. `inner` is the session of its `draft`,
    `task` the lane's name."""

    def __init__(
        self,
        routed: RoutedDraft,
        draft: Draft,
        inner: Session,
        lane: Lane | None,
    ) -> None:
        self._routed, self.draft, self.inner = routed, draft, inner
        self.lane = lane
        self.task = lane.name if lane else UNKNOWN
        self._spent = self._due = 0.0

    def allowed(self, price: Price) -> bool:
        """Whether its task's drafts pay."""
        self._routed.price = price
        return self.lane is None or self.lane.policy.allows(price)

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`."""
        if not self.allowed(price):
            return Proposal.nothing()
        return self.inner.propose(room, price, pending)

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        drafting = self._drafting()
        if self.lane is not None and ours(offered).all():  # what others added tells nothing
            self.lane.policy.record(len(offered), taken, drafting)
        self.inner.accept(tokens, offered, taken)

    def _drafting(self) -> float:
        """What the draft's own passes took since the last call, in passes of one token; of the
        first, which read the prompt, an instalment."""
        price = self._routed.price
        if price is None or not isinstance(self.inner, Costly):
            return 0.0
        before, self._spent = self._spent, self.inner.spent
        took = (self._spent - before) / price.plain()
        if not before:
            self._due, took = took, 0.0
        paid = INSTALMENT * self._due
        self._due -= paid
        return took + paid

    def close(self) -> None:
        """Nothing outlives the request but what trust and policy learned from it."""
        if self.lane is not None and self._due:
            self.lane.policy.record(0, 0, self._due)
            self._due = 0.0
        self.inner.close()
