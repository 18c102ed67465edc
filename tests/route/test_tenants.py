"""Several tenants of one model: each is drafted for by its own draft, whoever shares the pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.decode.answer import Routed
from tascel.decode.loop import Loop, complete, decode
from tascel.decode.schedule import Scheduler
from tascel.draft.base import Attentive, BatchDraft, Forgetful, Proposal
from tascel.draft.price import Price
from tascel.route.tenants import TenantDraft
from tascel.types import Request

PRICE = Price.from_points({1: 1.0, 33: 1.6})


class Marked:
    """A draft whose tokens tell whose it is; it notes what it is told."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.told: list[object] = []
        self.calls: list[tuple[int, int | None]] = []

    def open(self, request: Request) -> MarkedSession:
        self.told.append(("open", request.tenant))
        return MarkedSession(self)

    def propose_many(self, sessions, rooms, price, pending, rows_of_pass=None):
        self.calls.append((len(sessions), rows_of_pass))
        return [session.propose(room, price) for session, room in zip(sessions, rooms, strict=True)]

    def forget(self) -> None:
        self.told.append("forget")

    def start(self) -> None:
        self.told.append("start")

    def close(self) -> None:
        self.told.append("close")


class MarkedSession:
    task = "lights"

    def __init__(self, draft: Marked) -> None:
        self._draft = draft

    def propose(self, room, price, pending=1):
        return Proposal.chain([self._draft.token] * min(room, 2), source=1)

    def accept(self, tokens, offered, taken):
        self._draft.told.append(("accept", list(tokens)))

    def finish(self, reason):
        self._draft.told.append(("finish", reason))

    def close(self):
        self._draft.told.append("closed")


def asked(tenant: str | None, name: str = "r") -> Request:
    return Request(name, np.array([1, 2], np.int32), max_tokens=12, tenant=tenant)


@pytest.fixture
def drafts() -> dict[str, Marked]:
    return {"a": Marked(10), "b": Marked(20)}


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=8))
def test_a_batch_mixed_at_will_drafts_for_each_with_its_own(whose) -> None:
    drafts = {"a": Marked(10), "b": Marked(20)}
    tenants = TenantDraft(drafts)
    sessions = [tenants.open(asked(tenant)) for tenant in whose]
    found = tenants.propose_many(sessions, [4] * len(whose), PRICE, len(whose))
    for tenant, proposal in zip(whose, found, strict=True):
        own = {"a": [10, 10], "b": [20, 20]}.get(tenant or "", [])
        assert proposal.tokens.tolist() == own
    for name, draft in drafts.items():
        count = whose.count(name)
        assert draft.calls == ([(count, len(whose))] if count else [])
        assert draft.told == [("open", name)] * count


def test_a_request_of_nobody_is_drafted_for_by_none(drafts) -> None:
    tenants = TenantDraft(drafts)
    for whose in (None, "", "c", "A"):
        session = tenants.open(asked(whose))
        assert not len(session.propose(8, PRICE))
        session.accept([1], Proposal.nothing(), 0)
        session.finish("stop")
        session.close()
        assert session.task is None
    assert not drafts["a"].told
    assert not drafts["b"].told


def test_sessions_pass_on_what_they_hear(drafts) -> None:
    tenants = TenantDraft(drafts)
    assert isinstance(tenants, BatchDraft)
    assert isinstance(tenants, Forgetful)
    session = tenants.open(asked("a"))
    assert isinstance(session, Attentive)
    assert isinstance(session, Routed)
    assert session.task == "lights"
    session.accept([3], session.propose(8, PRICE), 0)
    session.finish("length")
    session.close()
    tenants.forget()
    tenants.close()
    own = [("open", "a"), ("accept", [3]), ("finish", "length"), "closed", "forget", "close"]
    assert drafts["a"].told == own
    assert drafts["b"].told == ["forget", "close"]


def test_a_draft_that_does_not_pay_rests_alone(drafts) -> None:
    tenants = TenantDraft(drafts)
    bad, good = tenants.open(asked("a")), tenants.open(asked("b"))
    for _ in range(400):
        both = tenants.propose_many([bad, good], [4, 4], PRICE, 2)
        bad.accept([1], both[0], 0)
        good.accept([20, 20, 1], both[1], len(both[1]))
        if not len(both[0]):
            break
    assert not len(both[0])
    assert len(both[1])
    assert not len(tenants.open(asked("a")).propose(4, PRICE))
    tenants.forget()
    assert len(tenants.open(asked("a")).propose(4, PRICE))


def test_what_others_added_tells_nothing_of_the_draft(drafts) -> None:
    tenants = TenantDraft(drafts)
    session = tenants.open(asked("a"))
    for _ in range(400):
        offered = session.propose(4, PRICE)
        assert len(offered)
        session.accept([1], Proposal.chain([9, 9], source=4), 0)  # a caller's prediction


def test_answers_are_those_of_plain_decoding(fake_engine, byte_stream) -> None:
    def plain(request: Request) -> tuple[int, ...]:
        return complete(decode(fake_engine(), None, request, PRICE, byte_stream())).tokens

    requests = [asked(whose, str(at)) for at, whose in enumerate(["a", "b", None, "a", "c", "b"])]
    drafts = TenantDraft({"a": Marked(10), "b": Marked(20)})
    scheduler = Scheduler(Loop(fake_engine(), drafts, PRICE), byte_stream, rows=4)
    for request in requests:
        scheduler.add(request)
    done = {}
    while scheduler.waiting or scheduler.running:
        for event in scheduler.step():
            if event.completion is not None:
                done[event.request.id] = event.completion.tokens
    assert done == {request.id: plain(request) for request in requests}
