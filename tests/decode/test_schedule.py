"""Continuous batching against answering alone: same tokens, whoever shares the pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.decode.loop import Loop, complete, decode
from tascel.decode.schedule import Event, Scheduler
from tascel.draft.price import Price
from tascel.errors import ModelError, RequestError
from tascel.types import Completion, Request, Sampling

PRICE = Price.from_rows({1: {1: 1.0, 33: 1.6}, 8: {8: 1.3, 64: 2.6}})


class Oracles:
    """A draft that knows each request's answer, with errors."""

    def __init__(self, oracle: Any, truth: dict[str, tuple[int, ...]], **skill: Any) -> None:
        self.oracle, self.truth, self.skill = oracle, truth, skill
        self.open_now = 0

    def open(self, request: Request) -> Any:
        session = self.oracle(self.truth[request.id], seed=len(request.prompt), **self.skill)
        session.open(request)
        self.open_now += 1
        session.close = lambda: setattr(self, "open_now", self.open_now - 1)
        return session


def some_requests(count: int, seed: int, longest: int = 30) -> list[Request]:
    rng = np.random.default_rng(seed)
    return [
        Request(
            str(i),
            rng.integers(0, 40, rng.integers(1, 25)).astype(np.int32),
            Sampling(temperature=float(rng.choice([0.0, 0.9])), seed=i),
            max_tokens=int(rng.integers(1, longest)),
        )
        for i in range(count)
    ]


def alone(engine: Any, stream: Any, requests: list[Request]) -> dict[str, Completion]:
    return {r.id: complete(decode(engine(eos_ids=[3]), None, r, PRICE, stream())) for r in requests}


def run(scheduler: Scheduler) -> list[Event]:
    events = []
    while scheduler.waiting or scheduler.running:
        events += scheduler.step()
    assert scheduler.step() == []
    return events


@settings(max_examples=60)
@given(
    st.integers(0, 999), st.integers(1, 12), st.integers(1, 6), st.integers(1, 40),
    st.integers(55, 300), st.booleans(), st.booleans(),
)  # fmt: skip
def test_a_row_answers_as_it_would_alone(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any,
    seed: int, count: int, rows: int, piece: int, cache: int, trees: bool, drafts: bool,
) -> None:  # fmt: skip
    requests = some_requests(count, seed)
    expected = alone(fake_engine, byte_stream, requests)
    engine = fake_engine(eos_ids=[3], trees=trees, cache_tokens=cache)
    truth = {id_: completion.tokens for id_, completion in expected.items()}
    oracles = Oracles(oracle_draft, truth, garbage=seed % 2 == 1) if drafts else None
    scheduler = Scheduler(Loop(engine, oracles, PRICE), byte_stream, rows, piece)
    for request in requests:
        scheduler.add(request)
    events = run(scheduler)
    done = {e.request.id: e.completion for e in events if e.completion is not None}
    assert done.keys() == expected.keys()
    for id_, completion in done.items():
        assert completion.tokens == truth[id_]
        assert completion.text == expected[id_].text
        chunks = [c for e in events if e.request.id == id_ for c in e.chunks]
        assert tuple(c.token for c in chunks) == truth[id_]
    assert max(engine.batches) <= rows
    assert not engine.open_rows
    assert oracles is None or oracles.open_now == 0


@given(st.integers(0, 999), st.integers(0, 2**6 - 1), st.integers(1, 6), st.booleans())
def test_who_wants_no_drafts_gets_none_and_the_same_answer(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any,
    seed: int, wishes: int, rows: int, trees: bool,
) -> None:  # fmt: skip
    requests = some_requests(6, seed)
    expected = alone(fake_engine, byte_stream, requests)
    truth = {id_: completion.tokens for id_, completion in expected.items()}
    oracles = Oracles(oracle_draft, truth, garbage=seed % 2 == 1)
    engine = fake_engine(eos_ids=[3], trees=trees)
    scheduler = Scheduler(Loop(engine, oracles, PRICE), byte_stream, rows)
    plain = {request.id for at, request in enumerate(requests) if wishes >> at & 1}
    for request in requests:
        predicted = np.array(truth[request.id], np.int32)
        scheduler.add(replace(request, prediction=predicted, drafts=request.id not in plain))
    done = {e.request.id: e.completion for e in run(scheduler) if e.completion is not None}
    assert {id_: completion.tokens for id_, completion in done.items()} == truth
    for id_ in plain:
        assert not done[id_].stats.offered
        assert {*done[id_].sources} == {"model"}
    offered = [done[id_].stats.offered for id_ in done.keys() - plain if len(truth[id_]) > 2]
    assert all(offered)
    assert oracles.open_now == 0


def test_first_come_first_served(fake_engine: Any, byte_stream: Any) -> None:
    requests = some_requests(9, seed=5)
    scheduler = Scheduler(Loop(fake_engine(), None, PRICE), byte_stream, rows=3)
    for request in requests:
        scheduler.add(request)
    seen = list(dict.fromkeys(e.request.id for e in run(scheduler)))
    assert seen == [r.id for r in requests]


def test_who_asks_much_keeps_nobody_waiting(fake_engine: Any, byte_stream: Any) -> None:
    def asked(tenant: str, at: int) -> Request:
        prompt = np.array([at + 1], np.int32)
        return Request(f"{tenant}{at}", prompt, max_tokens=3, tenant=tenant)

    for rows, expected in ((1, "a0 b0 c0 a1 b1 a2 a3"), (3, "a0 b0 c0 a1 b1 a2 a3")):
        scheduler = Scheduler(Loop(fake_engine(), None, PRICE), byte_stream, rows)
        for at in range(4):
            scheduler.add(asked("a", at))
        assert scheduler.queued == {"a0", "a1", "a2", "a3"}
        for tenant, at in (("b", 0), ("b", 1), ("c", 0)):
            scheduler.add(asked(tenant, at))
        ended = [event.request.id for event in run(scheduler) if event.completion is not None]
        assert ended == expected.split()
        assert not scheduler.queued


def test_a_large_request_is_not_overtaken_by_its_own(fake_engine: Any, byte_stream: Any) -> None:
    engine = fake_engine(cache_tokens=30)
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream, rows=4)
    sizes = {"a0": ("a", 20), "b0": ("b", 8), "a1": ("a", 29), "a2": ("a", 1), "b1": ("b", 8)}
    for name, (tenant, tokens) in sizes.items():
        prompt = np.array([1], np.int32)
        scheduler.add(Request(name, prompt, max_tokens=tokens, tenant=tenant))
    ended = [event.request.id for event in run(scheduler) if event.completion is not None]
    assert ended.index("a1") < ended.index("a2")
    assert sorted(ended) == sorted(sizes)


def test_a_large_request_is_not_overtaken(fake_engine: Any, byte_stream: Any) -> None:
    engine = fake_engine(cache_tokens=60)
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream)
    prompt = np.arange(5, dtype=np.int32)
    for name, tokens in (("small", 30), ("large", 50), ("tiny", 1)):
        scheduler.add(Request(name, prompt + len(name), max_tokens=tokens))
    finished = [e.request.id for e in run(scheduler) if e.completion is not None]
    assert finished == ["small", "large", "tiny"]
    with pytest.raises(RequestError, match="the cache 60"):
        scheduler.add(Request("never", prompt, max_tokens=56))


def test_a_long_prompt_is_read_in_pieces_while_others_go_on(
    fake_engine: Any, byte_stream: Any
) -> None:
    engine = fake_engine()
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream, piece=10)
    scheduler.add(Request("short", np.array([1, 2], np.int32), max_tokens=12))
    scheduler.step()
    scheduler.add(Request("long", np.arange(35, dtype=np.int32), max_tokens=2))
    told = [[e.request.id for e in scheduler.step()] for _ in range(4)]
    assert told == [["short"]] * 3 + [["short", "long"]]
    assert engine.batches[1:] == [2, 2, 2, 2]


def test_prompts_alike_wait_for_the_first_to_be_read(fake_engine: Any, byte_stream: Any) -> None:
    prompt = np.arange(30, dtype=np.int32)
    engine = fake_engine()
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream)
    for name in "abc":
        scheduler.add(Request(name, prompt, max_tokens=4))
    scheduler.step()
    assert (scheduler.running, scheduler.waiting) == (1, 2)
    scheduler.step()
    assert scheduler.running == 2
    run(scheduler)
    assert engine.batches[:3] == [1, 2, 3]
    for name in "ab":  # nothing of another tenant is waited for: it would not be shared
        scheduler.add(Request(name, prompt, max_tokens=4, tenant=name))
    scheduler.step()
    assert scheduler.running == 2
    run(scheduler)


def test_whoever_is_cancelled_is_gone(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    requests = some_requests(6, seed=3, longest=60)
    truth = {id_: c.tokens for id_, c in alone(fake_engine, byte_stream, requests).items()}
    engine = fake_engine(eos_ids=[3])
    oracles = Oracles(oracle_draft, truth)
    scheduler = Scheduler(Loop(engine, oracles, PRICE), byte_stream, rows=3)
    for request in requests:
        scheduler.add(request)
    scheduler.step()
    for id_ in ("0", "5", "nobody"):
        scheduler.cancel(id_)
    events = run(scheduler)
    finished = {e.request.id for e in events if e.completion}
    assert {"2", "3", "4"} <= finished <= {"1", "2", "3", "4"}  # 1 may have ended in the first step
    assert {"0", "5"}.isdisjoint(e.request.id for e in events)
    assert not engine.open_rows
    assert oracles.open_now == 0


def test_one_that_fails_does_not_take_others_along(fake_engine: Any, byte_stream: Any) -> None:
    class Picky(fake_engine):
        def logits_after(self, tokens: Any) -> np.ndarray:
            logits = super().logits_after(tokens)
            return np.full_like(logits, np.nan) if tokens[0] == 39 and len(tokens) > 6 else logits

    engine = Picky()
    good = Request("good", np.array([1, 2], np.int32), Sampling(1.0, seed=1), max_tokens=20)
    bad = Request("bad", np.array([39, 2, 3, 4, 5], np.int32), Sampling(1.0, seed=1))
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream)
    scheduler.add(bad)
    scheduler.add(good)
    events = run(scheduler)
    (failed,) = [e for e in events if e.error is not None]
    assert failed.request is bad
    assert isinstance(failed.error, ModelError)
    (done,) = [e for e in events if e.completion is not None]
    plain = complete(decode(fake_engine(), None, good, PRICE, byte_stream()))
    assert done.completion is not None
    assert done.completion.tokens == plain.tokens
    assert not engine.open_rows


def test_a_failed_pass_can_be_cleared_away(fake_engine: Any, byte_stream: Any) -> None:
    class Broken(fake_engine):
        def check(self, rows: Any, leads: Any, proposals: Any) -> Any:
            raise MemoryError

    engine = Broken()
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream)
    for request in some_requests(3, seed=1):
        scheduler.add(request)
    with pytest.raises(MemoryError):
        scheduler.step()
    assert [request.id for request in scheduler.clear()] == ["0", "1", "2"]
    assert not engine.open_rows
    assert scheduler.running == 0


@pytest.mark.parametrize("settings", [{"rows": 0}, {"piece": 0}])
def test_senseless_settings_are_refused(
    fake_engine: Any, byte_stream: Any, settings: dict[str, int]
) -> None:
    with pytest.raises(RequestError):
        Scheduler(Loop(fake_engine(), None, PRICE), byte_stream, **settings)


def test_a_head_that_can_never_start_is_refused(fake_engine: Any, byte_stream: Any) -> None:
    engine = fake_engine(cache_tokens=40)
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream)
    scheduler.add(Request("r", np.array([1], np.int32), max_tokens=30))
    engine.sizes[99] = 30  # as if a row had been lost
    (event,) = scheduler.step()
    assert isinstance(event.error, RequestError)
    assert scheduler.step() == []


def test_what_a_request_brings_along_fails_alone(fake_engine: Any, byte_stream: Any) -> None:
    def broken(history: np.ndarray, logits: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    engine = fake_engine()
    scheduler = Scheduler(Loop(engine, None, PRICE), byte_stream)
    prompt = np.array([1, 2], np.int32)
    scheduler.add(Request("bad", prompt, processors=lambda: [broken]))
    scheduler.add(Request("worse", prompt[:1], processors=lambda: 1 / 0))
    scheduler.add(Request("good", prompt[1:], max_tokens=5))
    events = run(scheduler)
    errors = {e.request.id: type(e.error) for e in events if e.error is not None}
    assert errors == {"bad": ZeroDivisionError, "worse": ZeroDivisionError}
    assert [e.request.id for e in events if e.completion is not None] == ["good"]
    assert not engine.open_rows


def test_a_tree_is_never_wider_than_the_answer_may_grow(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    request = Request("r", np.array([1, 2], np.int32), max_tokens=6)
    truth = complete(decode(fake_engine(), None, request, PRICE, byte_stream())).tokens
    engine = fake_engine()
    draft = oracle_draft(truth, width=40, skill=0.3)
    complete(decode(engine, draft, request, Price.free(), byte_stream()))
    assert 0 < max(map(len, engine.passes)) <= 6
