"""Running ahead: an engine's rough passes draft, and never change what is answered."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.decode.loop import Loop, complete, decode
from tascel.decode.reach import FIRST_MOST, HEAD, LEAST, Habit, Reach
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.types import Request, Sampling

PRICE = Price.free()


@pytest.fixture(scope="module")
def rough_engine(fake_engine: Any) -> Any:
    """A fake engine whose rough passes know only the ids `known`."""

    class RoughEngine(fake_engine):
        def __init__(self, known: Any, **facts: Any) -> None:
            super().__init__(**facts)
            self.known = [*known]
            self.rough = self._rough
            self.ahead: dict[int, list[int]] = {}
            self.rough_passes = 0

        def _rough(self, rows: Any, leads: Any) -> list[Any]:
            self.rough_passes += 1
            return [self._guess(row, lead.tolist()) for row, lead in zip(rows, leads, strict=True)]

        def _guess(self, row: int, lead: list[int]) -> Any:
            ahead = self.ahead.setdefault(row, [])
            ahead += lead
            logits = np.full(self.vocab_size, -np.inf, np.float32)
            whole = self.logits_after([*self.open_rows[row], *ahead])
            logits[self.known] = whole[self.known]

            class Verdict:
                def argmax(self, node: int) -> int:
                    assert node == -1
                    return int(logits.argmax())

                def logits(self, node: int) -> Any:
                    assert node == -1
                    return logits.copy()

            return Verdict()

        def check(self, rows: Any, leads: Any, proposals: Any) -> Any:
            for row, lead, proposal in zip(rows, leads, proposals, strict=True):
                ahead = self.ahead.pop(row, None)
                if ahead is not None:
                    text = [*lead.tolist(), *proposal.tokens.tolist()]
                    assert proposal.is_chain
                    assert text[: len(ahead)] == ahead
                    assert len(text) - len(ahead) <= 1
            return super().check(rows, leads, proposals)

    return RoughEngine


@settings(max_examples=150)
@given(
    known=st.sets(st.integers(0, 39), min_size=1),
    temperature=st.sampled_from([0.0, 0.7]),
    top_p=st.sampled_from([1.0, 0.8]),
    penalty=st.sampled_from([1.0, 1.3]),
    count=st.integers(1, 4),
    max_tokens=st.integers(1, 90),
    context=st.sampled_from([12, 60, 200]),
    eos=st.sets(st.integers(0, 39), max_size=2),
    stop=st.lists(st.text("\x00\x01\x02\x03", min_size=1, max_size=2), max_size=1),
    seed=st.integers(0, 2**32),
)
def test_running_ahead_changes_no_answer(
    fake_engine: Any, rough_engine: Any, byte_stream: Any, known: set[int], temperature: float,
    top_p: float, penalty: float, count: int, max_tokens: int, context: int, eos: set[int],
    stop: list[str], seed: int,
) -> None:  # fmt: skip
    sampling = Sampling(temperature, top_p=top_p, repetition_penalty=penalty, seed=seed)
    requests = [
        Request(str(at), np.array([at, 5, 6], np.int32), sampling, tuple(stop), max_tokens + 3 * at)
        for at in range(count)
    ]
    plain = fake_engine(context_limit=context, eos_ids=eos)
    engine = rough_engine(known, context_limit=context, eos_ids=eos)
    loop = Loop(engine, None, PRICE, habit=Habit())
    running = [loop.start(request, byte_stream()) for request in requests]
    while running:
        loop.step(running)
        for answer in [answer for answer in running if answer.done]:
            running.remove(answer)
            answer.close(engine)
            wanted = complete(decode(plain, None, answer.request, PRICE, byte_stream()))
            found = answer.completion()
            assert (found.tokens, found.text) == (wanted.tokens, wanted.text)
            assert found.finish_reason == wanted.finish_reason
    assert not engine.open_rows


def test_clean_checks_reach_further_and_a_miss_starts_over(
    rough_engine: Any, byte_stream: Any
) -> None:
    request = Request("r", np.array([5, 6], np.int32), max_tokens=120)
    engine = rough_engine(range(40))
    found = complete(decode(engine, None, request, PRICE, byte_stream(), habit=Habit()))
    assert [len(p) for p in engine.passes] == [0, 1, 3, 7, 15, 31, 31, 24]
    assert found.stats.offered["head"] == found.stats.accepted["head"] == 112
    assert found.stats.steps == len(engine.passes) + engine.rough_passes

    missing = engine.logits_after([5, 6, *found.tokens[:30]]).argmax()
    engine = rough_engine({*range(40)} - {int(missing)})
    again = complete(decode(engine, None, request, PRICE, byte_stream(), habit=Habit()))
    assert again.tokens == found.tokens
    lengths = [len(p) for p in engine.passes]
    assert any(other < one for one, other in pairwise(lengths[:-1]))


def test_a_reach_grows_falls_and_rests() -> None:
    def book(reach: Reach, offered: int, taken: int) -> int:
        reach.learn(Proposal.chain([1] * offered, HEAD), taken)
        return reach.now

    reach = Reach()
    assert [book(reach, n, n) for n in (1, 3, 7, 15, 31)] == [4, 8, 16, 32, 32]
    assert [book(reach, 31, 20), book(reach, 15, 15)] == [16, 17]
    assert [book(reach, 16, 9), book(reach, 7, 4), book(reach, 3, 2)] == [8, 4, LEAST]
    assert [book(reach, 1, 1), book(reach, 2, 0)] == [3, LEAST]
    assert book(reach, 1, 0) == 1  # the second bad one in a row
    reach.learn(Proposal.nothing(), 0)
    assert reach.now == LEAST
    rests = []
    for _ in range(8):
        book(reach, 1, 0)
        rests.append(reach.rest)
        reach.rest = 0
    assert rests == [2, 4, 8, 16, 16, 16, 16, 16]
    assert book(reach, 1, 1) == 3
    reach.learn(Proposal.chain([1, 2]), 2)  # a draft's
    assert reach.now == LEAST


def test_an_answer_starts_where_others_came_to(rough_engine: Any, byte_stream: Any) -> None:
    habit = Habit()
    request = Request("r", np.array([5, 6], np.int32), max_tokens=40)
    engine = rough_engine(range(40))
    for _ in range(9):
        complete(decode(engine, None, request, PRICE, byte_stream(), habit=habit))
    assert habit.first == FIRST_MOST - 1
    engine.passes.clear()
    complete(decode(engine, None, request, PRICE, byte_stream(), habit=habit))
    assert [len(p) for p in engine.passes] == [0, 14, 23]
    engine = rough_engine([39])
    for _ in range(5):
        complete(decode(engine, None, request, PRICE, byte_stream(), habit=habit))
    assert habit.first == LEAST


def test_an_unfit_head_costs_little(rough_engine: Any, byte_stream: Any) -> None:
    request = Request("r", np.array([5, 6], np.int32), max_tokens=190)
    engine = rough_engine([39])
    found = complete(decode(engine, None, request, PRICE, byte_stream(), habit=Habit()))
    assert found.stats.steps < 1.2 * len(found.tokens)


def test_nobody_runs_ahead_of_drafts_grammars_or_when_told_not_to(
    rough_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    prompt = np.array([5, 6], np.int32)

    def unchanged(history: Any, logits: Any) -> Any:
        return logits

    engine = rough_engine(range(40))
    plain = complete(decode(engine, None, Request("r", prompt), PRICE, byte_stream()))
    processed = Request("r", prompt, max_tokens=30, processors=lambda: [unchanged])
    complete(decode(engine, None, processed, PRICE, byte_stream(), habit=Habit()))
    habit, undrafted = Habit(first=8), Request("r", prompt, drafts=False)
    complete(decode(engine, None, undrafted, PRICE, byte_stream(), habit=habit))
    assert habit.first == 8
    assert engine.rough_passes == 0

    class Always(oracle_draft):
        def propose(self, room: int, price: Any, pending: int = 1) -> Proposal:
            return Proposal.chain(self.truth[self.at : self.at + 1])

    draft = Always(plain.tokens)
    found = complete(
        decode(engine, draft, Request("r", prompt), PRICE, byte_stream(), habit=Habit())
    )
    assert found.tokens == plain.tokens
    assert "head" not in found.stats.offered
