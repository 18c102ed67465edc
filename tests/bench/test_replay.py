"""Drafts led along known answers: counts, prices, and what the decode loop would have done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.bench.bootstrap import interval
from tascel.bench.replay import report
from tascel.decode.forced import Entrant, Example, Rules, follow, speedup
from tascel.decode.loop import complete, decode
from tascel.draft import trust as trusts
from tascel.draft.base import Proposal
from tascel.draft.breaker import FIRST_REST, LOSS
from tascel.draft.corpus import Corpus
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price, typical
from tascel.errors import TraceError
from tascel.types import Request

VOCAB = 40
PROMPT = np.array([5, 6, 7], np.int32)


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


class Recorder:
    """Passes on to a draft and keeps what it proposed, room by room."""

    def __init__(self, draft: Any) -> None:
        self.draft = draft
        self.runs: list[list[tuple[int, Proposal]]] = []

    def open(self, request: Request) -> Recorder:
        self.session = self.draft.open(request)
        self.runs.append([])
        return self

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        proposal = self.session.propose(room, price, pending)
        self.runs[-1].append((room, proposal))
        return proposal

    def accept(self, tokens: Any, offered: Proposal, taken: int) -> None:
        self.session.accept(tokens, offered, taken)

    def close(self) -> None:
        self.session.close()


class Fixed:
    """Proposes the same chain for ever."""

    def __init__(self, *tokens: int) -> None:
        self.tokens = tokens

    def open(self, request: Request) -> Fixed:
        return self

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        return Proposal.chain(self.tokens)

    def accept(self, tokens: Any, offered: Proposal, taken: int) -> None:
        pass

    def close(self) -> None:
        pass


def longest_path(proposal: Proposal, rest: list[int], room: int) -> int:
    """How many tokens of `rest` the tree holds from its root: every path, one by one. Of siblings
    with the same token only the first counts, as in the walk."""
    best = 0
    nodes = list(zip(proposal.parents.tolist(), proposal.tokens.tolist(), strict=True))
    for node in range(len(proposal)):
        path, at = [], node
        while at != -1:
            path.append(nodes[at][1] if nodes.index(nodes[at]) == at else None)
            at = nodes[at][0]
        if len(path) <= room and path[::-1] == rest[: len(path)]:
            best = max(best, len(path))
    return best


@given(
    answers=st.lists(
        st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=40), min_size=1, max_size=4
    ),
    seed=st.integers(0, 2**32),
    skill=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    width=st.integers(1, 24),
    tree=st.booleans(),
    most=st.sampled_from([1, 2, 9, 512]),
)
def test_counts_are_those_of_counting_by_hand(
    oracle_draft: Any, answers: list[list[int]], seed: int, skill: float, width: int, tree: bool,
    most: int,
) -> None:  # fmt: skip
    rules = Rules(typical(), VOCAB, max_tokens=most)
    for answer in answers:
        draft = Recorder(oracle_draft(answer[:most], seed, skill, width, tree))
        (cost,) = follow({"x": Entrant(draft)}, [Example(PROMPT, ids(*answer))], rules)["x"]
        _, run = draft.runs
        rest, steps, offered, accepted, ms = answer[1:most], 0, 0, 0, 0.0
        proposals = iter(run)
        while rest:
            room = most - (len(answer[:most]) - len(rest)) - 1
            width_, right = 0, 0
            if room > 0:
                told, proposal = next(proposals)
                assert told == room
                width_ = sum(depth <= room for depth in depths(proposal))
                right = min(longest_path(proposal, rest, room), len(rest))
            steps, offered, accepted = steps + 1, offered + width_, accepted + right
            ms += float(rules.price.curve(1, width_)[-1])
            rest = rest[right + 1 :]
        assert next(proposals, None) is None
        assert cost.tokens == len(answer[:most]) - 1
        assert (cost.steps, cost.offered) == (steps, offered)
        assert sum(cost.accepted.values()) == accepted
        assert cost.pass_ms == pytest.approx(ms)
        assert cost.tokens - cost.steps <= accepted <= cost.tokens
        assert draft.draft.opened == draft.draft.closed == 2


def depths(proposal: Proposal) -> list[int]:
    depth: list[int] = []
    for parent in proposal.parents.tolist():
        depth.append(1 + (depth[parent] if parent >= 0 else 0))
    return depth


class OnlyAfterThePrefill:
    """A draft that makes no first proposal, as replay asks for none."""

    def __init__(self, draft: NgramDraft) -> None:
        self.draft = draft

    def open(self, request: Request) -> OnlyAfterThePrefill:
        self.session = self.draft.open(request)
        return self

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        return self.session.propose(room, price) if pending == 1 else Proposal.nothing()

    def accept(self, tokens: Any, offered: Proposal, taken: int) -> None:
        self.session.accept(tokens, offered, taken)

    def close(self) -> None:
        self.session.close()


@pytest.mark.parametrize("trees", [True, False])
def test_our_draft_is_replayed_as_the_decode_loop_runs_it(
    fake_engine: Any, byte_stream: Any, trees: bool
) -> None:
    engine = fake_engine(vocab_size=VOCAB, trees=trees, eos_ids={3}, spread=4.0, order=2)
    price, most = typical(), 60
    prompts = [ids(i, 5, (3 * i) % VOCAB) for i in range(12)]
    requests = [Request(str(i), prompt, max_tokens=most) for i, prompt in enumerate(prompts)]
    plain = [complete(decode(engine, None, r, price, byte_stream())).tokens for r in requests]
    knowledge = Knowledge.only(Corpus.of([ids(*tokens) for tokens in plain[:8]]), VOCAB)
    draft = NgramDraft(knowledge, trusts.unknown(), None, {3})
    real = [
        complete(decode(engine, OnlyAfterThePrefill(draft), r, price, byte_stream()))
        for r in requests
    ]
    assert [done.tokens for done in real] == plain
    examples = [Example(p, ids(*tokens)) for p, tokens in zip(prompts, plain, strict=True)]
    rules = Rules(price, VOCAB, trees=trees, max_tokens=most)
    replayed = follow({"tascel": Entrant(draft)}, examples, rules)["tascel"]
    for done, cost in zip(real, replayed, strict=True):
        assert cost.steps == done.stats.steps - 1  # the prefill's
        assert cost.offered == sum(done.stats.offered.values())
        assert cost.accepted == done.stats.accepted
        assert cost.rejects == done.stats.rejects
    assert sum(cost.offered for cost in replayed) > 50
    assert sum(cost.rejects for cost in replayed) > 0


def test_a_guarded_draft_that_never_pays_is_rested_and_others_are_not() -> None:
    answer = Example(PROMPT, ids(*[1] * 100))
    rules = Rules(Price.from_points({1: 1.0, 4: 2.0}), VOCAB)  # each step loses a pass
    entrants = {"peer": Entrant(Fixed(2, 2, 2)), "tascel": Entrant(Fixed(2, 2, 2), guarded=True)}
    costs = follow(entrants, [answer], rules)
    assert costs["peer"][0].offered == 3 * 99
    assert costs["tascel"][0].offered == 3 * (LOSS + 1)
    assert FIRST_REST > 99
    assert costs["peer"][0].rejects == 99


def test_everybody_begins_in_turn_and_answers_are_not_told() -> None:
    order: list[str] = []

    class Named(Fixed):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def open(self, request: Request) -> Named:
            order.append(self.name)
            assert request.max_tokens == 512
            return self

        def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
            assert room in (510, 509)
            return Proposal.nothing()

    examples = [Example(PROMPT, ids(1, 2, 3)), Example(PROMPT, ids(4, 5))]
    follow({n: Entrant(Named(n)) for n in "ab"}, examples, Rules(Price.free(), VOCAB))
    assert "".join(order) == "ab" + "ab" + "ba"


def test_wider_passes_are_charged_and_so_is_the_drafts_time() -> None:
    rules = Rules(Price.from_points({1: 10.0, 4: 20.0}), VOCAB)
    example = Example(PROMPT, ids(*[1] * 9))
    costs = follow({"none": Entrant(Fixed()), "tascel": Entrant(Fixed(1, 1, 1))}, [example], rules)
    assert costs["none"][0].pass_ms == 80
    assert costs["tascel"][0].pass_ms == 40
    assert costs["tascel"][0].draft_ms > 0
    assert speedup(costs["tascel"], rules) == 80 / costs["tascel"][0].ms
    content = report(costs, rules, "prices.json", {"none": {"most": 0}})
    assert {k: content[k] for k in ("examples", "tokens", "price_file", "step_ms")} == {
        "examples": 1, "tokens": 8, "price_file": "prices.json", "step_ms": 10.0,
    }  # fmt: skip
    none, ours = content["drafts"]
    assert (none["name"], ours["name"]) == ("none", "tascel")
    assert none["settings"] == {"most": 0}
    assert ours["tokens_per_step"] == 4
    assert ours["drafted_per_step"] == 3
    assert ours["accepted_by_source"] == {"draft": 0.75}
    assert none["accepted_by_source"] == {}
    assert none["tascel_over_this"] == pytest.approx(
        ours["speedup_estimate"] / none["speedup_estimate"]
    )
    low, high = none["interval_against_tascel"]
    assert low <= none["tascel_over_this"] <= high


def test_answers_of_one_token_leave_nothing_to_estimate() -> None:
    rules = Rules(Price.free(), VOCAB)
    costs = follow({"tascel": Entrant(Fixed())}, [Example(PROMPT, ids(1))], rules)
    with pytest.raises(TraceError, match="longer than one token"):
        report(costs, rules, "", {})


def test_the_typical_goes_on_beyond_its_table() -> None:
    curve = typical().curve(1, 63)
    assert curve[0] == 40
    assert curve[31] == pytest.approx(66.8)
    assert curve[63] > curve[31]
    assert np.all(np.diff(curve) >= 0)


def test_an_interval_holds_its_ratio() -> None:
    over, under = [3.0, 1.0, 4.0, 1.0, 5.0] * 20, [1.0, 2.0, 1.0, 2.0, 1.0] * 20
    low, high = interval(over, under)
    assert low < sum(over) / sum(under) < high
    assert interval(under, under) == (1.0, 1.0)
