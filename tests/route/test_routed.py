"""Every prompt gets the draft of its task."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.draft import trust as trusts
from tascel.draft.base import Proposal
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price
from tascel.route.classify import Classifier
from tascel.route.draft import INSTALMENT, UNKNOWN, Lane, RoutedDraft
from tascel.route.policy import Policy, Tally
from tascel.types import Request

PRICE = Price.from_points({1: 1.0, 33: 1.6})
GOOD = Tally(500.0, np.eye(65)[4] * 100)
BAD = Tally(100.0, np.eye(65)[4] * 100)


@pytest.fixture(scope="module")
def parts(two_tasks, seen_of, reader, tokenizer):
    """Traces, and knowledge of all of them, of the lights and of the songs."""
    seen = seen_of(two_tasks(40)).read()
    known = [
        Knowledge.of(some.outputs, some.words, some.about, len(tokenizer))
        for some in (seen, seen.some(range(40)), seen.some(range(40, 80)))
    ]
    labels = np.repeat([0, 1], 40).astype(np.int32)
    classifier = Classifier.fit(seen.about, labels, np.arange(80, dtype=np.int32) % 4)
    return seen, known, classifier


@pytest.fixture
def routed(parts, reader, tokenizer):
    _, known, classifier = parts
    end = [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    pooled, lights, songs = (NgramDraft(k, trusts.unknown(), reader, end) for k in known)
    lanes = [
        Lane("lights", (lights, pooled), Policy((GOOD, BAD))),
        Lane("songs", (songs, pooled), Policy((GOOD, BAD))),
    ]
    return RoutedDraft(pooled, lanes, classifier)


def asked(parts, at, task=None):
    return Request(f"r{at}", parts[0].prompts[at], task=task)


def test_a_prompt_goes_to_its_task(routed, parts):
    for at, name in ((3, "lights"), (29, "lights"), (41, "songs"), (77, "songs")):
        session = routed.open(asked(parts, at))
        assert session.task == name
        assert session.draft is routed.lanes[name == "songs"].drafts[0]


def test_a_request_may_name_its_task(routed, parts):
    assert routed.open(asked(parts, 3, "songs")).task == "songs"
    assert routed.open(asked(parts, 3, "lights")).task == "lights"


def test_a_name_that_nobody_knows_leaves_it_to_the_prompt(routed, parts):
    assert routed.open(asked(parts, 3, "sogns")).task == "lights"
    assert routed.open(asked(parts, 45, "")).task == "songs"


def test_a_prompt_like_none_gets_what_all_have_learned(routed, tokenizer):
    strange = np.array(tokenizer.encode("~~~~ %%%% @@@@ ||||"), np.int32)
    session = routed.open(Request("r", strange))
    assert session.task == UNKNOWN
    assert session.draft is routed.pooled
    assert session.allowed(PRICE)
    empty = routed.open(Request("r", np.zeros(0, np.int32)))
    assert empty.task == UNKNOWN
    named = routed.open(Request("r", strange, task="songs"))
    assert named.task == "songs"


def test_the_policy_says_which_draft(routed, parts):
    routed.lanes[0].policy = Policy((BAD, GOOD))
    session = routed.open(asked(parts, 3))
    assert session.task == "lights"
    assert session.draft is routed.pooled


def test_a_batch_of_several_tasks_is_drafted_as_each_alone(routed, parts, tokenizer):
    strange = Request("r", np.array(tokenizer.encode("~~~~ %%%%"), np.int32))
    requests = [asked(parts, at) for at in (3, 44, 7, 71, 20)] + [strange]
    sessions = [routed.open(request) for request in requests]
    rooms = [32, 5, 1, 32, 0, 7]
    curve = Price.from_points({1: 1.0, 2: 1.0, 64: 1.0})  # the same for one row and for many
    together = routed.propose_many(sessions, rooms, curve, 1)
    alone = [s.propose(room, curve) for s, room in zip(sessions, rooms, strict=True)]
    assert [p.tokens.tolist() for p in together] == [p.tokens.tolist() for p in alone]
    assert [p.parents.tolist() for p in together] == [p.parents.tolist() for p in alone]
    assert sum(map(len, together)) > 10
    assert routed.propose_many([], [], curve, 1) == []


def test_a_task_whose_drafts_do_not_pay_rests_alone(routed, parts):
    steep = Price.from_points({1: 1.0, 65: 17.0})
    lights, songs = (routed.open(asked(parts, at)) for at in (3, 44))
    wrong = Proposal.chain([1] * 16)
    while lights.allowed(steep):
        lights.accept([2], wrong, 0)
    assert not len(lights.propose(8, PRICE))
    drafted = routed.propose_many([lights, songs], [8, 8], PRICE, 1)
    assert not len(drafted[0])
    assert len(drafted[1])
    routed.forget()
    assert routed.open(asked(parts, 3)).allowed(steep)


def test_what_others_offered_tells_the_policy_nothing(routed, parts):
    session = routed.open(asked(parts, 3))
    counted = []
    routed.lanes[0].policy.record = lambda *facts: counted.append(facts)
    session.accept([5, 6], Proposal.chain([5, 9], source=4), 1)  # a caller's prediction
    assert not counted
    session.accept([5, 6], Proposal.chain([5, 9], source=1), 1)
    session.accept([5], Proposal.nothing(), 0)
    assert counted == [(2, 1, 0.0), (0, 0, 0.0)]


def test_forget_makes_it_as_it_was(routed, parts):
    def drafted():
        sessions = [routed.open(asked(parts, at)) for at in (3, 44)]
        return [s.propose(16, PRICE).trust.tolist() for s in sessions]

    fresh = drafted()
    for at in (3, 44, 9):
        session = routed.open(asked(parts, at))
        for _ in range(20):
            session.accept([7, 8], session.propose(4, PRICE), 0)
    assert drafted() != fresh
    routed.forget()
    assert drafted() == fresh


def test_it_learns_and_warms_up_without_a_trace(routed, parts):
    routed.warm()
    session = routed.open(asked(parts, 44))
    first = session.propose(64, PRICE)
    session.accept(first.tokens[:1].tolist(), first, 1)
    session.close()


class Spending:
    """A draft with passes of its own: two milliseconds a proposal."""

    def __init__(self):
        self.asked = []

    def open(self, request):
        return SpendingSession()

    def propose_many(self, sessions, rooms, price, pending, rows_of_pass=None):
        self.asked.append((len(sessions), rows_of_pass))
        return [session.propose(room, price) for session, room in zip(sessions, rooms, strict=True)]


class SpendingSession:
    spent = 0.0

    def propose(self, room, price, pending=1):
        self.spent += 2.0
        return Proposal.chain([1, 2])

    def accept(self, tokens, offered, taken):
        pass

    def close(self):
        pass


def test_what_a_draft_of_a_lane_spends_is_told_its_policy(routed, parts):
    routed.lanes[0].drafts, routed.lanes[0].policy = (Spending(),), Policy((GOOD,))
    session = routed.open(asked(parts, 3))
    counted = []
    routed.lanes[0].policy.record = lambda *facts: counted.append(facts)
    for _ in range(2):
        session.accept([1], session.propose(8, PRICE), 1)
    first = 2.0 * INSTALMENT  # it may have read a prompt
    second = (2.0 - first) * INSTALMENT
    assert counted == [(2, 1, first), (2, 1, 2.0 + second)]
    session.propose(8, PRICE)
    session.accept([1], Proposal.chain([1], source=4), 1)  # not of the draft alone
    assert len(counted) == 2
    session.accept([1], Proposal.nothing(), 0)
    assert counted[2][2] < second  # and not booked later
    session.close()
    session.close()
    assert [facts[:2] for facts in counted[3:]] == [(0, 0)]
    routed.forget()


def test_to_have_read_a_prompt_rests_no_draft_that_pays(routed, parts):
    routed.lanes[0].drafts, routed.lanes[0].policy = (Spending(),), Policy((GOOD,))
    cheap = Price.from_points({1: 4.0, 64: 4.0})  # a proposal takes half a pass
    for _ in range(20):
        session = routed.open(asked(parts, 3))
        session.inner.spent += 20.0  # the prompt: five passes
        for _ in range(8):
            offered = session.propose(8, cheap)
            assert len(offered)
            session.accept([1, 2, 3], offered, 2)
        session.close()


def test_a_draft_of_a_lane_hears_how_many_share_the_pass(routed, parts):
    draft = Spending()
    routed.lanes[0].drafts, routed.lanes[0].policy = (draft,), Policy((GOOD,))
    sessions = [routed.open(asked(parts, at)) for at in (3, 44, 7)]
    drafted = routed.propose_many(sessions, [8, 8, 8], PRICE, 3)
    assert draft.asked == [(2, 3)]
    assert [len(drafted[at]) for at in (0, 2)] == [2, 2]


def test_without_a_classifier_all_go_one_way(routed, parts, tokenizer):
    lane = Lane(None, (Spending(),), Policy((GOOD,)))
    single = RoutedDraft(routed.pooled, [lane], None)
    session = single.open(Request("r", np.array(tokenizer.encode("~~~~"), np.int32)))
    assert session.lane is lane
    assert session.task is None
    assert session.propose(4, PRICE).tokens.tolist() == [1, 2]
