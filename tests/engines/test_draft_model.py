"""A small model as a draft: exact whatever it says, in step with the answer, paid by prices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.decode.loop import Loop, complete, decode
from tascel.draft.base import Proposal, Stem
from tascel.draft.price import Price
from tascel.engines.hf.draft_model import PROBE, NeuralDraft
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.layers import keep_layers
from tascel.types import Request, Sampling

PRICE = Price.from_points({1: 10.0, 64: 14.0})
OWN = Price.from_points({1: 0.5, 64: 0.6})
#: Nothing costs anything beside a pass of the target, however wide.
FREE = Price([1], np.full((1, 64), 1e15))
PROMPT = np.arange(20, 45, dtype=np.int32)


@pytest.fixture(scope="module")
def target(toy):
    return toy("Llama", initializer_range=0.3)


@pytest.fixture(scope="module")
def engine(target):
    return HfEngine(target)


@pytest.fixture(scope="module")
def drafts(toy, target):
    """Models that draft: the target itself, its first layer, one that knows nothing, and one whose
    rows are read one by one."""
    return {
        "itself": NeuralDraft(target, OWN),
        "cut": NeuralDraft(keep_layers(target, [0]), OWN),
        "stranger": NeuralDraft(toy("Qwen2", seed=5), OWN),
        "row by row": NeuralDraft(toy("Falcon", seed=5, alibi=True), OWN),
    }


@pytest.fixture(params=["itself", "cut", "stranger", "row by row"])
def draft(request, drafts):
    found = drafts[request.param]
    found.forget()
    yield found
    found.forget()
    assert found.engine.fits(found.engine.cache_tokens), "a row was left open"


def ask(at=0, **settings):
    settings = {"max_tokens": 20} | settings
    return Request(f"r{at}", PROMPT[at % 7 :] + at, **settings)


def test_answers_are_those_of_plain_decoding(engine, draft, byte_stream):
    for sampling in (Sampling(), Sampling(temperature=0.8, seed=3), Sampling(presence_penalty=1.0)):
        request = ask(sampling=sampling)
        plain = complete(decode(engine, None, request, PRICE, byte_stream()))
        drafted = complete(decode(engine, draft, request, PRICE, byte_stream()))
        assert drafted.tokens == plain.tokens
        assert {source for source in drafted.sources} <= {"model", "neural"}
        assert drafted.stats.steps <= plain.stats.steps


def test_the_target_as_its_own_draft_is_always_right(engine, drafts, byte_stream):
    drafts["itself"].forget()
    done = complete(decode(engine, drafts["itself"], ask(), PRICE, byte_stream()))
    assert done.stats.accepted["neural"] == done.stats.offered["neural"] > 8
    assert done.stats.steps < 12


def test_a_batch_answers_as_its_rows_alone(engine, draft, byte_stream):
    requests = [ask(at, max_tokens=8 + at) for at in range(5)]
    plain = [
        complete(decode(engine, None, request, PRICE, byte_stream())).tokens for request in requests
    ]
    loop = Loop(engine, draft, PRICE)
    answers = [loop.start(request, byte_stream()) for request in requests]
    try:
        while alive := [answer for answer in answers if not answer.done]:
            loop.step(alive)
        assert [tuple(answer.written) for answer in answers] == plain
        assert sum(answer.offered["neural"] for answer in answers) > 5
    finally:
        for answer in answers:
            answer.close(engine)


def test_rows_of_a_batch_propose_what_they_would_alone(drafts):
    draft = drafts["itself"]
    draft.forget()
    free = FREE
    sessions = [draft.open(ask(at)) for at in range(4)]
    together = draft.propose_many(sessions, [8, 5, 1, 8], free, 4)
    for session, room, found in zip(sessions, (8, 5, 1, 8), together, strict=True):
        alone = draft.open(Request("r", np.array(session.text, np.int32), max_tokens=30))
        other = alone.propose(room, free)
        assert found.tokens.tolist() == other.tokens.tolist()
        assert len(found) == room
        alone.close()
        session.close()


@settings(max_examples=12)
@given(st.data())
def test_a_row_stays_in_step_with_whatever_is_written(drafts, data):
    draft = drafts[data.draw(st.sampled_from([*drafts]))]
    draft.forget()
    session = draft.open(ask(max_tokens=60))
    try:
        for _ in range(data.draw(st.integers(1, 4))):
            offered = session.propose(8, FREE)
            taken = data.draw(st.integers(0, len(offered)))
            own = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=1))
            session.accept([*offered.tokens[:taken].tolist(), *own], offered, taken)
            if data.draw(st.booleans()):  # what another drafted is tried, and came to nothing
                stem = Stem(tuple(data.draw(st.lists(st.integers(0, 255), max_size=3))))
                session.propose(8, FREE, stem=stem)
            fresh = draft.open(Request("f", np.array(session.text, np.int32), max_tokens=30))
            known, unknown = session.propose(8, FREE), fresh.propose(8, FREE)
            fresh.close()
            assert known.tokens.tolist() == unknown.tokens.tolist()
            assert known.trust == pytest.approx(unknown.trust, abs=1e-3)
    finally:
        session.close()


def test_behind_a_stem_it_says_what_it_would_behind_that_text(drafts):
    draft = drafts["cut"]
    draft.forget()
    session, other = draft.open(ask()), draft.open(ask())
    behind = session.propose(8, FREE, stem=Stem((9, 8), 0.5, 2, 1.1))
    other.accept([9, 8], Proposal.nothing(), 0)
    there = other.propose(6, FREE)
    assert behind.tokens.tolist() == there.tokens.tolist()
    assert len(behind) == 6
    assert behind.trust == pytest.approx(0.5 * there.trust)
    assert session.propose(2, FREE, stem=Stem((9, 8))).tokens.tolist() == []
    session.close()
    other.close()


def test_it_reads_only_what_is_new(target, monkeypatch):
    draft = NeuralDraft(target, OWN)
    read = []
    check = draft.engine.check
    monkeypatch.setattr(
        draft.engine,
        "check",
        lambda rows, leads, offers: read.extend(map(len, leads)) or check(rows, leads, offers),
    )
    session = draft.open(ask())
    offered = session.propose(3, FREE)
    assert read == [len(PROMPT), 1, 1]
    session.accept([*offered.tokens.tolist(), 7], offered, 3)
    session.propose(1, FREE)
    assert read[3:] == [2]  # the last guess was never read
    session.accept([200, 7], Proposal.nothing(), 0)
    session.propose(1, FREE)
    assert read[4:] == [2]
    session.close()


def test_long_prompts_are_read_in_pieces(toy, byte_stream, monkeypatch):
    monkeypatch.setattr("tascel.engines.hf.draft_model.PIECE", 7)
    draft = NeuralDraft(toy("Llama"), OWN)
    pieces, whole = draft.open(ask()), NeuralDraft(toy("Llama"), OWN).open(ask())
    found = pieces.propose(5, FREE).tokens.tolist()
    monkeypatch.undo()
    assert found == whole.propose(5, FREE).tokens.tolist()


def test_ids_beyond_the_target_s_are_never_proposed(toy, target, engine, byte_stream):
    padded = toy("Llama", vocab_size=400, seed=9)
    with torch.no_grad():
        padded.lm_head.weight[300:] *= 50  # it would say hardly anything else
    free = NeuralDraft(padded, OWN).open(ask()).propose(8, FREE)
    assert (free.tokens >= 272).any()
    draft = NeuralDraft(padded, OWN, vocab_size=272)
    session = draft.open(ask())
    assert (session.propose(8, FREE).tokens < 272).all()
    plain = complete(decode(engine, None, ask(), PRICE, byte_stream()))
    assert complete(decode(engine, draft, ask(), PRICE, byte_stream())).tokens == plain.tokens


def test_a_text_with_ids_that_it_does_not_know_is_given_up(toy, engine, byte_stream):
    draft = NeuralDraft(toy("Llama", vocab_size=30, eos_token_id=29), OWN)
    assert len(draft.open(ask()).propose(8, FREE)) == 0  # ids up to 44
    few = Request("few", np.arange(1, 20, dtype=np.int32), max_tokens=20)
    plain = complete(decode(engine, None, few, PRICE, byte_stream()))
    assert complete(decode(engine, draft, few, PRICE, byte_stream())).tokens == plain.tokens
    session = draft.open(few)
    assert len(session.propose(8, FREE)) == 8
    assert len(session.propose(8, FREE, stem=Stem((31,)))) == 0
    session.accept([31], Proposal.nothing(), 0)
    assert len(session.propose(8, FREE)) == 0
    session.close()


def test_an_empty_prompt_is_nothing_to_go_by(drafts):
    session = drafts["cut"].open(Request("empty", np.zeros(0, np.int32)))
    assert len(session.propose(8, FREE)) == 0
    session.close()


def test_where_no_row_is_free_nothing_is_proposed(toy, byte_stream):
    draft = NeuralDraft(toy("Llama"), OWN, cache_tokens=128)
    first, second, third = (draft.open(ask(max_tokens=30)) for _ in range(3))
    assert [len(s.propose(4, FREE)) for s in (first, second, third)] == [4, 4, 0]
    first.close()
    assert len(third.propose(4, FREE)) == 0  # it would have much to catch up with
    fourth = draft.open(ask(max_tokens=30))
    assert len(fourth.propose(4, FREE)) == 4
    for session in (second, third, fourth):
        session.close()
    draft.forget()
    assert draft.engine.fits(128)


def test_a_text_longer_than_its_context_is_left_to_the_target(toy, engine, byte_stream):
    draft = NeuralDraft(toy("Llama", max_position_embeddings=40), OWN)
    request = ask(max_tokens=60)
    plain = complete(decode(engine, None, request, PRICE, byte_stream()))
    drafted = complete(decode(engine, draft, request, PRICE, byte_stream()))
    assert drafted.tokens == plain.tokens
    long = Request("long", np.arange(1, 60, dtype=np.int32), max_tokens=10)
    session = draft.open(long)
    assert len(session.propose(8, FREE)) == 0
    session.close()


def test_a_draft_without_numbers_says_nothing(toy, engine, byte_stream):
    broken = toy("Llama")
    draft = NeuralDraft(broken, OWN)
    with torch.no_grad():
        broken.lm_head.weight[:] = float("nan")
    plain = complete(decode(engine, None, ask(), PRICE, byte_stream()))
    done = complete(decode(engine, draft, ask(), PRICE, byte_stream()))
    assert done.tokens == plain.tokens
    assert not done.stats.offered


def test_an_answer_that_is_given_up_leaves_no_row(engine, drafts, byte_stream):
    draft = drafts["itself"]
    draft.forget()
    chunks = decode(engine, draft, ask(), PRICE, byte_stream())
    next(chunks)
    chunks.close()
    draft.forget()
    assert draft.engine.fits(draft.engine.cache_tokens)


def test_what_it_spends_is_counted_by_its_price(drafts):
    draft = drafts["itself"]
    draft.forget()  # nothing to share
    before = draft.spent
    one, other = draft.open(ask()), draft.open(ask(1))
    draft.propose_many([one, other], [3, 3], FREE, 2)
    read = len(one.read) + len(other.read)
    assert draft.spent - before == pytest.approx(
        float(OWN.curve(read - 4, 0, 2)[0]) + 2 * float(OWN.curve(2, 0, 2)[0])
    )
    assert one.spent + other.spent == pytest.approx(draft.spent - before)
    one.close()
    other.close()


def test_a_draft_that_costs_too_much_is_hardly_asked(target, toy):
    dear = NeuralDraft(toy("Llama", seed=8), Price.from_points({1: 9.0, 64: 9.5}))
    session = dear.open(ask(max_tokens=10))
    asked = 0
    for _ in range(2 * PROBE):
        before = dear.spent
        session.propose(8, PRICE)
        asked += dear.spent > before
    assert asked == 2
    session.close()


def test_where_another_is_sure_it_is_never_asked(drafts):
    draft = drafts["cut"]
    draft.forget()
    session, before = draft.open(ask()), draft.spent
    for _ in range(2 * PROBE):
        assert not len(session.propose(8, PRICE, stem=Stem((9,), 0.99, 1, 0.99, 0.0)))
    assert draft.spent == before
    session.close()


def test_a_bad_draft_is_asked_less_and_less(drafts, engine, byte_stream):
    draft = drafts["stranger"]
    draft.forget()
    offered = []
    for at in range(5):
        done = complete(decode(engine, draft, ask(at, max_tokens=40), PRICE, byte_stream()))
        offered.append(sum(done.stats.offered.values()))
    assert offered[-1] < offered[0] / 2
    draft.forget()


def test_the_same_requests_in_the_same_order_draft_the_same(drafts, engine, byte_stream):
    draft = drafts["cut"]
    runs = []
    for _ in range(2):
        draft.forget()
        done = [complete(decode(engine, draft, ask(at), PRICE, byte_stream())) for at in range(3)]
        runs.append([(d.sources, d.stats.steps, dict(d.stats.offered)) for d in done])
    assert runs[0] == runs[1]


def test_warming_leaves_nothing(toy):
    draft = NeuralDraft(toy("Llama"), Price.from_points({1: 40.0, 64: 60.0}))
    draft.warm()
    assert draft.spent > 0
    assert draft.engine.fits(draft.engine.cache_tokens)
    assert draft.confidence.learned().counts.sum() == 0
