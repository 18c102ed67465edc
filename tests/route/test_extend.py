"""N-grams and another draft continue each other's proposals; the answer stays exact."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from tascel.decode.loop import Loop, complete, decode
from tascel.draft import trust as trusts
from tascel.draft.base import Proposal, Stem
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.price import Price
from tascel.draft.slots import no_words
from tascel.route.extend import ExtendedDraft, ending
from tascel.types import SOURCES, Request, Sampling

NEURAL = SOURCES.index("neural")
PRICE = Price.from_points({1: 10.0, 64: 14.0})
END = 39


@dataclass
class Parrot:
    """Knows what follows; its `skill` is the share of tokens it gets right."""

    truth: list[int]
    skill: float = 1.0
    length: int = 3
    stems: list[Stem] = field(default_factory=list)
    closed: int = 0
    spent: float = 0.0
    at: int = 0

    def open(self, request):
        return self

    def propose(self, room, price, pending=1, stem=None):
        return self.chain(room, stem or Stem())

    def propose_many(self, sessions, rooms, price, pending, rows_of_pass=None, stems=None):
        self.stems += stems
        return [s.chain(r, stem) for s, r, stem in zip(sessions, rooms, stems, strict=True)]

    def chain(self, room, stem):
        self.spent += 1.0
        begin = self.at + len(stem.tokens)
        known = self.truth[begin : begin + max(0, min(self.length, room - len(stem.tokens)))]
        rng = np.random.default_rng([begin, *stem.tokens])
        said = [t if rng.random() < self.skill else int(rng.integers(40)) for t in known]
        trust = stem.trust * 0.9 ** np.arange(1, len(said) + 1)
        chain = Proposal.chain(said, NEURAL)
        return Proposal(chain.tokens, chain.parents, trust.astype(np.float32), chain.source)

    def accept(self, tokens, offered, taken):
        self.at += len(tokens)

    def close(self):
        self.closed += 1

    def forget(self):
        self.stems.clear()


@pytest.fixture(scope="module")
def ngrams():
    """What is known of three answers that begin alike, and go on from 10, 20 and 30."""
    outputs = [np.array([1, 2, 3, *range(k, k + 8), END], np.int32) for k in (10, 10, 10, 20)]
    knowledge = Knowledge.of(outputs, [no_words()] * 4, [np.zeros(0, np.uint32)] * 4, 40)
    sure = trusts.unknown()
    sure[1] -= 4.0  # what it finds is right
    return NgramDraft(knowledge, sure, None, [END])


def tree(tokens, parents, trust):
    return Proposal(
        np.array(tokens, np.int32),
        np.array(parents, np.int16),
        np.array(trust, np.float32),
        np.ones(len(tokens), np.uint8),
    )


def paths(proposal):
    """Each node as the path down to it, with its trust and source."""
    found = []
    for token, parent in zip(proposal.tokens.tolist(), proposal.parents.tolist(), strict=True):
        found.append((*found[parent], token) if parent >= 0 else (token,))
    return {
        path: (float(trust), SOURCES[code])
        for path, trust, code in zip(found, proposal.trust, proposal.source, strict=True)
    }


def test_a_tree_ends_where_most_trust_is_left():
    none = np.zeros(0, np.int32)
    assert ending(Proposal.nothing(), none) == -1
    assert ending(tree([4], [-1], [0.9]), none) == 0
    assert ending(tree([4], [-1], [0.3]), none) == -1
    fork = tree([4, 5, 6, 7], [-1, 0, 0, 1], [0.95, 0.5, 0.4, 0.45])
    assert ending(fork, none) == 3
    assert ending(fork, np.array([7], np.int32)) == 2
    assert ending(tree([4, 5], [-1, 0], [0.95, 0.2]), none) == 0
    assert ending(tree([4], [-1], [float("nan")]), none) == -1


def test_behind_a_sure_leaf_the_other_draft_goes_on(ngrams):
    truth = [1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 5, 6, 7]
    parrot = Parrot(truth)
    ngrams = NgramDraft(
        ngrams.knowledge, ngrams.mixer.trust, None, [END], DraftConfig(most=4, trees=False)
    )
    draft = ExtendedDraft(ngrams, parrot)
    session = draft.open(Request("r", np.array([30, 31], np.int32)))
    session.accept(truth[:5], Proposal.nothing(), 0)
    alone = ngrams.open(Request("r", np.array([30, 31], np.int32)))
    alone.accept(truth[:5], Proposal.nothing(), 0)
    offered = alone.propose(20, PRICE)
    assert offered.tokens.tolist() == [12, 13, 14, 15]
    found = session.propose(20, PRICE)
    (stem,) = parrot.stems
    assert stem.width == len(offered)
    assert stem == Stem.of(offered, 3)
    continued = [(path, trust) for path, (trust, who) in paths(found).items() if who == "neural"]
    assert [path[-1] for path, _ in continued] == [16, 17, 5]
    assert all(path[: len(stem.tokens)] == stem.tokens for path, _ in continued)
    assert all(trust <= stem.trust for _, trust in continued)


def test_where_ngrams_know_nothing_the_other_speaks_and_they_go_on(ngrams):
    parrot = Parrot([1, 2, 3], length=3)
    session = ExtendedDraft(ngrams, parrot).open(Request("r", np.array([30, 31], np.int32)))
    alone = ngrams.open(Request("r", np.array([30, 31], np.int32)))
    alone.accept([33], Proposal.nothing(), 0)
    session.accept([33], Proposal.nothing(), 0)
    assert len(alone.propose(20, PRICE)) == 0
    parrot.truth = [33, 1, 2, 3]
    found = paths(session.propose(20, PRICE))
    assert parrot.stems == [Stem()]
    assert [found[p][1] for p in ((1,), (1, 2), (1, 2, 3))] == ["neural"] * 3
    assert found[1, 2, 3, 10][1] == "corpus"
    assert found[1, 2, 3, 10][0] < found[1, 2, 3][0] == pytest.approx(0.9**3)
    assert found[1, 2, 3, 10][0] == max(t for path, (t, _) in found.items() if len(path) == 4)


def test_looking_behind_a_text_leaves_a_session_as_it_was(ngrams):
    prompt = np.array([1, 2, 3, 10, 30], np.int32)
    session, other = (ngrams.open(Request("r", prompt)) for _ in range(2))
    for written in ([1], [2, 3], [20]):
        for s in (session, other):
            s.accept(written, Proposal.nothing(), 0)
        with session.behind([9, 1, 2, 3] * 80):  # more than it has room for
            there = session.propose(10, PRICE)
        here, plain = session.propose(10, PRICE), other.propose(10, PRICE)
        assert here.tokens.tolist() == plain.tokens.tolist()
        assert np.array_equal(here.trust, plain.trust)
        assert 10 in there.tokens
    with session.behind([21]):
        behind = session.propose(10, PRICE)
    other.accept([21], Proposal.nothing(), 0)
    assert behind.tokens.tolist() == other.propose(10, PRICE).tokens.tolist()


def test_nothing_hangs_behind_the_end_of_an_answer(ngrams):
    parrot = Parrot([33, 7, END, 1, 2, 3], length=2)
    session = ExtendedDraft(ngrams, parrot).open(Request("r", np.array([30], np.int32)))
    session.accept([33], Proposal.nothing(), 0)
    assert [*paths(session.propose(20, PRICE))] == [(7,), (7, END)]


def test_the_room_holds_for_all_of_it(ngrams):
    for room in range(1, 9):
        parrot = Parrot([33, 1, 2, 3], length=3)
        session = ExtendedDraft(ngrams, parrot).open(Request("r", np.array([30], np.int32)))
        session.accept([33], Proposal.nothing(), 0)
        assert max(map(len, paths(session.propose(room, PRICE)))) <= room


def test_a_dear_pass_carries_less(ngrams):
    def offered(price):
        session = ExtendedDraft(ngrams, Parrot([33, 1, 2, 3])).open(
            Request("r", np.array([30], np.int32))
        )
        session.accept([33], Proposal.nothing(), 0)
        return len(session.propose(20, price))

    assert offered(Price.from_points({1: 10.0, 64: 500.0})) < offered(PRICE)


@pytest.mark.parametrize("skill", [0.0, 0.6, 1.0])
def test_answers_are_those_of_plain_decoding(ngrams, skill, fake_engine, byte_stream):
    engine = fake_engine()
    for sampling in (Sampling(), Sampling(temperature=0.7, seed=1)):
        request = Request("r", np.array([1, 2, 3], np.int32), sampling, max_tokens=40)
        plain = complete(decode(engine, None, request, PRICE, byte_stream()))
        parrot = Parrot(list(plain.tokens), skill)
        draft = ExtendedDraft(ngrams, parrot)
        done = complete(decode(engine, draft, request, PRICE, byte_stream()))
        assert done.tokens == plain.tokens
        assert done.stats.offered["neural"] > 0
        assert parrot.closed == 1
        assert skill == 0 or done.stats.steps < plain.stats.steps - 10
    assert not engine.open_rows


def test_a_batch_is_drafted_in_one_call(ngrams, fake_engine, byte_stream):
    engine = fake_engine()
    requests = [
        Request(f"r{at}", np.array([at, at + 1], np.int32), max_tokens=15) for at in range(4)
    ]
    plain = [
        complete(decode(engine, None, request, PRICE, byte_stream())).tokens for request in requests
    ]
    parrots = {r.id: Parrot(list(t), 0.8) for r, t in zip(requests, plain, strict=True)}

    class Flock(Parrot):
        calls = 0

        def open(self, request):
            return parrots[request.id]

        def propose_many(self, *args):
            Flock.calls += 1
            return super().propose_many(*args)

    loop = Loop(engine, ExtendedDraft(ngrams, Flock([])), PRICE)
    answers = [loop.start(request, byte_stream()) for request in requests]
    steps = 0
    while alive := [answer for answer in answers if not answer.done]:
        loop.step(alive)
        steps += len(alive) > 1
    assert [tuple(answer.written) for answer in answers] == plain
    assert steps <= Flock.calls <= steps + 15
    assert all(answer.session.spent > 0 for answer in answers)


def test_what_both_learned_is_forgotten(ngrams):
    parrot = Parrot([33, 1, 2])
    draft = ExtendedDraft(ngrams, parrot)
    session = draft.open(Request("r", np.array([30], np.int32)))
    session.accept([1, 2, 3, 10], Proposal.nothing(), 0)
    session.propose(5, PRICE)
    assert parrot.stems
    assert ngrams.mixer.drift.any()
    draft.forget()
    assert not parrot.stems
    assert not ngrams.mixer.drift.any()
