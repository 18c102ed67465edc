"""What was learned online drafts the next request, beside the bundle's own draft."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tascel.decode.answer import Routed
from tascel.draft.base import Attentive, BatchDraft, Forgetful, Lasting, Proposal
from tascel.draft.price import Price
from tascel.learning.draft import shared
from tascel.types import Request

NEW = "zebra quartz 42 violet"


def test_it_is_every_kind_of_draft(learning):
    draft = learning()
    assert isinstance(draft, BatchDraft)
    assert isinstance(draft, Forgetful)
    assert isinstance(draft, Lasting)
    session = draft.open(Request("r", np.array([1], np.int32)))
    assert isinstance(session, Attentive)
    assert not isinstance(session, Routed)  # the bundle has but one task
    session.close()


def test_an_answer_helps_the_very_next_request(learning, talk):
    draft = learning()
    first = talk.answer(draft, "what is there 1", NEW)
    assert talk.answer(draft, "what is there 2", NEW) < first / 2
    stats = draft.stats()
    assert (stats.traces, stats.learned, stats.repeated) == (2, 2, 0)
    assert stats.accepted > 0
    assert stats.last_error is None


def test_what_the_bundle_knows_is_drafted_as_without_learning(learning, talk, built):
    draft, plain = learning(), built.draft()
    for i in range(12):
        prompt, output = f"light {i}", f"the lamp {i % 7}"
        assert talk.answer(draft, prompt, output) <= talk.answer(plain, prompt, output)


@pytest.mark.parametrize("reason", ["length", None])
def test_an_answer_that_was_cut_is_not_learned(learning, talk, reason):
    draft = learning()
    talk.answer(draft, "what is there", NEW, reason=reason)
    assert draft.stats().learned == 0


def test_the_same_answer_again_is_counted(learning, talk):
    draft = learning()
    for _ in range(3):
        talk.answer(draft, "what is there", NEW)
    stats = draft.stats()
    assert (stats.traces, stats.learned, stats.repeated) == (1, 3, 2)
    (known,) = draft.learner.recent._exchanges.values()
    assert known.uses >= 3.0  # new, twice again, and recalled


def test_nothing_is_learned_before_the_start_or_after_the_end(learning, talk):
    draft = learning(start=False)
    talk.answer(draft, "what is there", NEW)
    assert draft.stats().learned == 0
    draft.start()
    draft.start()
    talk.answer(draft, "what is there", NEW)
    assert draft.stats().learned == 1
    draft.close()
    draft.close()
    talk.answer(draft, "what else is there", NEW)
    assert draft.stats().learned == 1


def test_forgetting_leaves_what_is_written_down(learning, talk, clock):
    draft = learning(flush=5.0)
    talk.answer(draft, "what is there", NEW)
    draft.forget()
    assert (draft.stats().traces, draft.stats().unflushed) == (0, 0)
    talk.answer(draft, "what is there", NEW)
    clock.now += 6
    draft.learner.work()
    assert draft.stats().unflushed == 0
    draft.forget()
    assert draft.stats().traces == 1


def test_what_does_not_pay_rests(learning, talk):
    draft = learning()
    talk.answer(draft, "what is there", NEW)
    for _ in range(60):
        draft.record(8, 0)
    assert draft._breaker.resting
    session = draft.open(Request("r", talk.prompt("what is there")))
    assert session.recent is None
    offered = session.propose(8, PRICE)
    session.accept([1], offered, 0)
    session.finish("stop")
    assert draft.stats().learned == 2


class Lane:
    """A base session that notes what it is told of its own proposals."""

    task = "lights"

    def __init__(self, proposal):
        self.proposal, self.told = proposal, []

    def open(self, request):
        return self

    def propose(self, room, price, pending=1):
        return self.proposal

    def accept(self, tokens, offered, taken):
        self.told.append((offered.tokens.tolist(), taken))

    def close(self):
        self.told.append("closed")


def test_the_base_is_told_of_what_it_offered_itself(learning, talk):
    draft = learning()
    for i in range(3):
        talk.answer(draft, f"what is there {i}", NEW)
    output = talk.output(NEW)
    lane = Lane(Proposal.chain([output[0], 5], source=1))
    draft.learner.base = lane
    session = draft.open(Request("r", talk.prompt("what is there 4")))
    assert isinstance(session, Routed)
    offered = session.propose(16, Price.free())
    assert len(offered) > 2
    session.accept(output[:4], offered, 4)
    assert lane.told == [([output[0], 5], 1)]
    before = draft.accepted
    assert before >= 3
    session.accept([7], Proposal.nothing(), 0)  # a pass without drafts
    assert lane.told[-1] == ([], 0)
    session.close()
    assert lane.told[-1] == "closed"


def test_chains_stay_chains(learning, talk):
    draft = learning(draft={"trees": False})
    for i in range(3):
        talk.answer(draft, f"light what {i}", NEW)
    session = draft.open(Request("r", talk.prompt("light 1")))
    for _ in range(4):
        offered = session.propose(16, Price.free())
        assert offered.is_chain
        session.accept([3], offered, 0)


def test_shared_nodes_are_those_below_the_same_path():
    offered = Proposal(
        np.array([1, 2, 1, 3], np.int32), np.array([-1, -1, 1, 2], np.int16),
        np.ones(4, np.float32), np.ones(4, np.uint8),
    )  # fmt: skip
    part = Proposal.chain([2, 1, 4])
    assert shared(offered, part).tolist() == [False, True, True, False]
    assert not shared(offered, Proposal.nothing()).any()


def check(proposal: Proposal, room: int, vocab_size: int) -> None:
    depth: list[int] = []
    for token, parent in zip(proposal.tokens.tolist(), proposal.parents.tolist(), strict=True):
        assert -1 <= parent < len(depth)
        assert 0 <= token < vocab_size
        depth.append(1 + (depth[parent] if parent >= 0 else 0))
        assert depth[-1] <= room
    assert np.isfinite(proposal.trust).all()
    assert ((proposal.trust > 0) & (proposal.trust <= 1)).all()
    siblings = [*zip(proposal.parents.tolist(), proposal.tokens.tolist(), strict=True)]
    assert len(siblings) == len(set(siblings))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 9)),
        st.tuples(st.just("step"), st.integers(0, 5)),
        st.tuples(st.just("end"), st.sampled_from(["stop", "length", None])),
        st.tuples(st.sampled_from(["index", "work", "forget", "drop"]), st.none()),
        st.tuples(st.just("wait"), st.integers(1, 10**7)),
    ),
    max_size=60,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(STEPS)
def test_whatever_happens_proposals_are_well_formed(learning, talk, clock, steps) -> None:
    draft = learning(tokens=60, days=30.0, flush=1.0)
    vocab = draft.learner._bundle.manifest.vocab_size
    texts = ["the lamp 3", NEW, "the lamp 3 the lamp 3", "", "zebra the"]
    open_: list = []
    for what, how in steps:
        if what == "open":
            text = texts[how % 5]
            open_.append([draft.open(Request("r", talk.prompt(f"light {how}"))), talk.output(text)])
        elif what == "step" and open_:
            rooms = [how + 1] * len(open_)
            sessions = [session for session, _ in open_]
            for one, room, proposal in zip(
                open_, rooms, draft.propose_many(sessions, rooms, PRICE, len(open_)), strict=True
            ):
                check(proposal, room, vocab)
                session, rest = one
                taken = [t for t, _ in _along(proposal, rest)]
                session.accept(taken or [0], proposal, max(0, len(taken) - 1))
                one[1] = rest[len(taken) :]
        elif what == "end" and open_:
            session, _ = open_.pop(0)
            if how is not None:
                session.finish(how)
            session.close()
        elif what == "index":
            draft.learner.recent.index()
        elif what == "work":
            draft.learner.work()
        elif what == "forget":
            draft.forget()
        elif what == "drop":
            draft.learner.recent.drop(draft.learner.recent.keys())
        elif what == "wait":
            clock.now += how
    stats = draft.stats()
    assert stats.tokens == sum(len(e.output) for e in draft.learner.recent._exchanges.values())
    assert stats.tokens <= 90
    assert stats.errors == 0
    draft.close()


def _along(proposal, rest):
    from tascel.decode.walk import follow

    return follow(proposal, rest) if rest else []


PRICE = Price.from_points({1: 1.0, 33: 1.6})
