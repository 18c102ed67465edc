"""The decode loop against a strict fake engine: drafts never change what is answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.decode.loop import complete, decode
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.errors import RequestError
from tascel.types import Chunk, Completion, Request, Sampling

PRICE = Price.free()
PROMPT = np.array([5, 6, 7], np.int32)

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.0, 0.3, 1.0, 1.7]),
    top_k=st.sampled_from([0, 1, 5, 1000]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    presence_penalty=st.sampled_from([0.0, 0.7]),
    frequency_penalty=st.sampled_from([0.0, 0.4, -0.5]),
    seed=st.integers(0, 2**64),
)


def answer(engine: Any, stream: Any, request: Request, draft: Any = None) -> Completion:
    return complete(decode(engine, draft, request, PRICE, stream()))


def same(one: Completion, other: Completion) -> bool:
    def parts(c: Completion) -> tuple[object, ...]:
        return c.tokens, c.text, c.finish_reason

    return parts(one) == parts(other)


@settings(max_examples=300)
@given(
    sampling=samplings,
    seed=st.integers(0, 2**32),
    skill=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    width=st.integers(1, 24),
    tree=st.booleans(),
    garbage=st.booleans(),
    trees=st.booleans(),
    prompt=st.lists(st.integers(0, 39), min_size=1, max_size=6),
    max_tokens=st.integers(1, 60),
    context=st.sampled_from([10, 30, 200]),
    eos=st.sets(st.integers(0, 39), max_size=2),
    stop=st.lists(st.text("\x00\x01\x02\x03", min_size=1, max_size=3), max_size=2),
)
def test_no_draft_changes_the_answer(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any, sampling: Sampling, seed: int,
    skill: float, width: int, tree: bool, garbage: bool, trees: bool, prompt: list[int],
    max_tokens: int, context: int, eos: set[int], stop: list[str],
) -> None:  # fmt: skip
    engine = fake_engine(context_limit=context, eos_ids=eos, trees=trees)
    request = Request("r", np.array(prompt, np.int32), sampling, tuple(stop), max_tokens)
    plain = answer(engine, byte_stream, request)
    draft = oracle_draft(plain.tokens, seed, skill, width, tree, garbage=garbage)
    assert same(answer(engine, byte_stream, request, draft), plain)
    assert draft.opened == draft.closed == 1
    assert not engine.open_rows
    assert len(plain.tokens) <= min(max_tokens, context - len(prompt))


def test_hits_and_misses_both_happen_in_the_property_above(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    request = Request("r", PROMPT, max_tokens=150)
    plain = answer(fake_engine(), byte_stream, request)
    stats = answer(fake_engine(), byte_stream, request, oracle_draft(plain.tokens)).stats
    assert stats.steps < 100
    assert stats.rejects > 10
    assert sum(stats.accepted.values()) > 30
    assert sum(stats.offered.values()) > sum(stats.accepted.values())


def test_a_wrong_engine_is_noticed(fake_engine: Any, oracle_draft: Any, byte_stream: Any) -> None:
    """The control: an engine that forgets which nodes were rejected fails the property."""

    class Forgetful(fake_engine):
        def keep(self, rows, paths):
            offered = [self._offered[row] for row in rows]
            super().keep(rows, paths)
            for row, path, drafted in zip(rows, paths, offered, strict=True):
                self.open_rows[row] += drafted.tokens[len(path) : len(path) + 1].tolist()

    request = Request("r", PROMPT, max_tokens=60)
    plain = answer(fake_engine(), byte_stream, request)
    draft = oracle_draft(plain.tokens, tree=False)
    draft.accept = lambda tokens, offered, taken: None
    assert not same(answer(Forgetful(), byte_stream, request, draft), plain)


def test_perfect_chain_rides_on_the_prefill(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    class Perfect(oracle_draft):
        def propose(self, room, price, pending=1):
            return Proposal.chain(self.truth[self.at : self.at + room], source=1)

    engine, request = fake_engine(), Request("r", PROMPT, max_tokens=20)
    plain = answer(engine, byte_stream, request)
    assert plain.stats.steps == 20
    assert set(plain.sources) == {"model"}
    drafted = answer(engine, byte_stream, request, Perfect(plain.tokens))
    assert same(drafted, plain)
    assert drafted.stats.steps == 1
    assert drafted.sources == ("corpus",) * 19 + ("model",)
    assert drafted.stats.accepted == {"corpus": 19}
    assert drafted.stats.decode_seconds == 0
    assert drafted.stats.rejects == drafted.stats.block_stops == 0


@pytest.mark.parametrize("end", ["eos", "stop"])
def test_an_end_inside_a_block_cuts_there(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any, end: str
) -> None:
    class Overshooting(oracle_draft):
        def propose(self, room, price, pending=1):
            return Proposal.chain(self.truth[self.at : self.at + room])

    free = answer(fake_engine(), byte_stream, Request("r", PROMPT, max_tokens=20))
    token = next(t for t in free.tokens[6:] if t not in free.tokens[:6])
    engine = fake_engine(eos_ids={token} if end == "eos" else ())
    stop = (chr(token),) if end == "stop" else ()
    request = Request("r", PROMPT, stop=stop, max_tokens=20)
    plain = answer(engine, byte_stream, request)
    draft = Overshooting(free.tokens)
    drafted = answer(engine, byte_stream, request, draft)
    assert same(drafted, plain)
    assert drafted.finish_reason == "stop"
    assert drafted.tokens[-1] == token
    assert chr(token) not in drafted.text
    assert drafted.stats.block_stops == 1
    assert drafted.stats.rejects == 0


def test_trees_become_their_most_trusted_chain(fake_engine: Any, byte_stream: Any) -> None:
    class Bush:
        def open(self, request):
            return self

        def propose(self, room, price, pending=1):
            return Proposal(
                np.array([1, 2, 3, 4], np.int32),
                np.array([-1, -1, 1, 2], np.int16),
                np.array([0.6, 0.4, 0.3, 0.1], np.float32),
                np.zeros(4, np.uint8),
            )

        def accept(self, tokens, offered, taken):
            pass

        close = lambda self: None  # noqa: E731

    engine = fake_engine(trees=False)
    answer(engine, byte_stream, Request("r", PROMPT, max_tokens=8), Bush())
    assert engine.passes[0].tokens.tolist() == [2, 3, 4]


def test_nothing_is_drafted_where_nothing_may_be(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    request = Request("r", PROMPT, max_tokens=30)
    plain = answer(fake_engine(), byte_stream, request)
    cannot = fake_engine(drafts=False)
    draft = oracle_draft(plain.tokens, skill=1.0)
    assert same(answer(cannot, byte_stream, request, draft), plain)
    assert draft.opened == 0
    switch = fake_engine(draft_limit=12)
    stats = answer(switch, byte_stream, request, oracle_draft(plain.tokens, skill=1.0)).stats
    assert 0 < sum(stats.accepted.values()) <= 12 - len(PROMPT)


def test_a_breaker_stops_drafting(fake_engine: Any, oracle_draft: Any, byte_stream: Any) -> None:
    class Breaker:
        def __init__(self) -> None:
            self.records: list[tuple[int, int, int]] = []

        def allows(self) -> bool:
            return len(self.records) < 3

        def record(self, offered: int, accepted: int, pending: int, rows: int) -> None:
            self.records.append((offered, accepted, pending))

    request, breaker = Request("r", PROMPT, max_tokens=60), Breaker()
    plain = answer(fake_engine(), byte_stream, request)
    draft = oracle_draft(plain.tokens, seed=4)
    drafted = complete(decode(fake_engine(), draft, request, PRICE, byte_stream(), breaker))
    assert same(drafted, plain)
    assert len(breaker.records) == 3
    assert sum(drafted.stats.offered.values()) == sum(offered for offered, *_ in breaker.records)
    assert sum(drafted.stats.accepted.values()) == sum(took for _, took, _ in breaker.records)
    assert {pending for _, _, pending in breaker.records} <= {1, len(PROMPT)}


def test_chunks_add_up_to_the_completion(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    request = Request("r", PROMPT, max_tokens=40)
    plain = answer(fake_engine(), byte_stream, request)
    chunks: list[Chunk] = []
    run = decode(fake_engine(), oracle_draft(plain.tokens), request, PRICE, byte_stream())
    try:
        while True:
            chunks.append(next(run))
    except StopIteration as end:
        done = end.value
    assert tuple(c.token for c in chunks) == done.tokens
    assert "".join(c.text for c in chunks) == done.text
    assert tuple(c.source for c in chunks) == done.sources
    steps = [c.step for c in chunks]
    assert steps == sorted(steps)
    assert set(steps) == set(range(done.stats.steps))


def test_closing_early_frees_row_and_session(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    engine, draft = fake_engine(), oracle_draft([0] * 99)
    draft.accept = lambda tokens, offered, taken: None
    run = decode(engine, draft, Request("r", PROMPT), PRICE, byte_stream())
    next(run)
    assert engine.open_rows
    run.close()
    assert not engine.open_rows
    assert draft.closed == 1


def test_a_failing_draft_still_frees_the_row(
    fake_engine: Any, oracle_draft: Any, byte_stream: Any
) -> None:
    class Failing(oracle_draft):
        def accept(self, tokens, offered, taken):
            raise OSError("disk")

    engine, draft = fake_engine(), Failing([0] * 99)
    with pytest.raises(OSError, match="disk"):
        answer(engine, byte_stream, Request("r", PROMPT), draft)
    assert not engine.open_rows
    assert draft.closed == 1


@pytest.mark.parametrize(
    ("prompt", "fields", "message"),
    [
        ([], {}, "prompt is empty"),
        ([1] * 200, {}, "200 tokens, the model's context 200"),
        ([1, 40], {}, "does not know"),
        ([-1], {}, "does not know"),
        ([1], {"max_tokens": 0}, "asked for 0 tokens"),
        ([1], {"stop": ("a", "")}, "stop string is empty"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(
    fake_engine: Any, byte_stream: Any, prompt: list[int], fields: dict[str, Any], message: str
) -> None:
    engine = fake_engine()
    request = Request("r", np.array(prompt, np.int32), **fields)
    with pytest.raises(RequestError, match=message) as caught:
        decode(engine, None, request, PRICE, byte_stream())
    assert caught.value.remedy
    assert not engine.passes
