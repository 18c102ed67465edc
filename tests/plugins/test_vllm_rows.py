"""Rows told apart by content, in a batch that does all that vLLM's does to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.plugins import rows as rows_module
from tascel.plugins.rows import Rows
from tascel.plugins.vllm.drafts import Drafts

ROWS, LONGEST, MOST, VOCAB = 5, 60, 6, 40
ASK, END = 30, 31  # the last id of every prompt, and of every answer


class Session:
    """Remembers what it was told; closed when the request is forgotten."""

    def __init__(self, prompt):
        self.prompt, self.answer, self.closed = prompt.tolist(), [], False
        self.booked = []

    def accept(self, tokens, offered, taken):
        assert not self.closed
        assert taken == 0 or list(tokens[:taken]) == offered.tokens[:taken].tolist()
        self.answer += tokens
        self.booked.append((len(offered), taken))

    def close(self):
        self.closed = True


def chain_for(prompt, answer):
    """What a request gets: all that it is decides it."""
    rng = np.random.default_rng([len(prompt), *prompt, *answer])
    return rng.integers(10, 14, rng.integers(0, MOST + 1)).tolist()


class Pure:
    """A draft whose chains are a function of prompt and answer."""

    def __init__(self):
        self.opened = []

    def open(self, request):
        self.opened.append(Session(request.prompt))
        return self.opened[-1]

    def propose_many(self, sessions, rooms, price, pending):
        assert len(sessions) == len(set(map(id, sessions))) == pending
        return [Proposal.chain(chain_for(s.prompt, s.answer)) for s in sessions]


@dataclass(eq=False)
class Asked:
    """A request inside the engine: `wait` steps of its prompt are read before the first token;
    `seen` if the last step wrote some."""

    prompt: list[int]
    answer: list[int]
    wait: int
    said: int = 0
    seen: bool = False
    offered: list[int] = field(default_factory=list)

    @property
    def held(self):
        return self.prompt + self.answer[: self.said]


class Engine:
    """Rows as vLLM keeps them: stale ids behind the end, holes filled with the last row."""

    def __init__(self, drafts, rng):
        self.drafts, self.rng = drafts, rng
        self.rows: list[Asked] = []
        self.away: list[Asked] = []
        self.tokens = rng.integers(0, VOCAB, (ROWS + 2, LONGEST)).astype(np.int32)
        self.offers = 0

    def add(self, asked):
        if len(self.rows) < ROWS:
            self.rows.insert(int(self.rng.integers(len(self.rows) + 1)), asked)

    def leave(self, at):
        """The row's request is gone; the last one takes its place."""
        gone, last = self.rows[at], self.rows.pop()
        if last is not gone:
            self.rows[at] = last
        return gone

    def step(self, asks=True):
        """One pass; every row that has read its prompt writes what was offered rightly and one
        more."""
        sampled, counts = [], np.zeros(len(self.tokens), np.int32)
        for at, row in enumerate(self.rows):
            written = []
            if row.wait and asks:
                row.wait -= 1
            elif not row.wait:
                rest = row.answer[row.said :]
                right = 0
                while right < min(len(row.offered), len(rest) - 1) and (
                    row.offered[right] == rest[right]
                ):
                    right += 1
                written = rest[: right + 1]
                row.said += len(written)
            row.offered, row.seen = [], bool(written)
            sampled.append(written)
            counts[at] = len(row.held)
            self.tokens[at, : counts[at]] = row.held
        if asks:
            found = self.drafts.propose(sampled, counts, self.tokens)
            assert len(found) == len(self.rows)
            for row, written, offer in zip(self.rows, sampled, found, strict=True):
                row.offered = offer
                over = not written or END in written
                room = LONGEST - len(row.held) - 1
                wanted = [] if over else chain_for(row.prompt, row.answer[: row.said])[:room]
                assert offer == wanted
                self.offers += bool(offer)
        self.rows = [row for row in self.rows if row.said < len(row.answer)]


def drafts_of(draft):
    return Drafts(draft, Price.free(), [END], VOCAB, LONGEST, MOST)


ACTS = ("ask", "ask", "twin", "nothing", "swap", "away", "back", "abort", "unseen", "cut")


@pytest.fixture(autouse=True, scope="module")
def short_tails():
    """Few ids to look requests up by, so that many share them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_TAIL", 2)
        yield


@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 99)), min_size=20, max_size=120))
def test_any_schedule_gives_what_each_request_alone_would_get(acts):
    rng = np.random.default_rng([number for _, number in acts])
    engine = Engine(drafts_of(Pure()), rng)

    def new(prompt):
        # few ids, so that answers of one prompt often begin alike
        answer = [*rng.integers(10, 12, rng.integers(0, 30)).tolist(), END]
        return Asked(prompt, answer, wait=int(rng.integers(3)) * int(rng.integers(2)))

    for act, number in acts:
        at = number % max(1, len(engine.rows))
        if act == "ask":
            engine.add(new([*rng.integers(0, 3, number % 5).tolist(), ASK]))
        elif act == "back" and engine.away and len(engine.rows) < ROWS:
            back = engine.away.pop(number % len(engine.away))
            back.wait = number % 3  # what it had is read again, maybe in pieces
            engine.add(back)
        elif not engine.rows:
            pass
        elif act == "twin":
            engine.add(new(engine.rows[at].prompt))
        elif act == "swap":
            rng.shuffle(engine.rows)
        elif act == "away":
            gone = engine.leave(at)
            gone.offered = []
            engine.away.append(gone)
        elif act == "abort":
            engine.leave(at)
        elif act == "cut":
            row = engine.rows[at]
            row.said, row.offered = number % (row.said + 1), []
        elif act == "unseen" and all(row.seen for row in engine.rows):
            for row in engine.rows:
                row.offered = []
            engine.step(asks=False)
        engine.step()


def as_engine(step):
    tokens = np.full((len(step), LONGEST), 39, np.int32)
    counts = np.zeros(len(step), np.int32)
    for at, (held, written) in enumerate(step):
        both = [*held, *written]
        tokens[at, : len(both)] = both
        counts[at] = len(both)
    return [written for _, written in step], counts, tokens


@pytest.fixture
def opened():
    return []


@pytest.fixture
def rows(opened):
    def open_(prompt):
        opened.append(Session(prompt))
        return opened[-1]

    return Rows(open_, [END])


def test_rows_that_change_places_are_told_apart(rows, opened):
    rows.step(*as_engine([([1, 2], [10]), ([3, 4], [11])]))
    a, b = rows.step(*as_engine([([3, 4, 11], [12]), ([1, 2, 10], [13])]))
    assert [s.prompt for s in opened] == [[1, 2], [3, 4]]
    assert (a.session.answer, b.session.answer) == ([11, 12], [10, 13])


def test_rows_of_one_prompt_have_a_request_each(rows, opened):
    rows.step(*as_engine([([1, 2], [10]), ([1, 2], [10]), ([1, 2], [11])]))
    found = rows.step(*as_engine([([1, 2, 10], [5]), ([1, 2, 10], [6]), ([1, 2, 11], [7])]))
    assert len({id(row) for row in found}) == len(opened) == 3
    assert [row.session.answer for row in found] == [[10, 5], [10, 6], [11, 7]]


def test_a_request_ahead_of_its_twin_is_not_mistaken_for_it(rows, opened):
    rows.step(*as_engine([([1], [10])]))
    rows.step(*as_engine([([1, 10], [10]), ([1], [10])]))
    first, second = rows.step(*as_engine([([1, 10, 10], [10]), ([1, 10], [10])]))
    assert first.session is opened[0]
    assert second.session is opened[1]


def test_a_prompt_that_is_being_read_opens_nothing(rows, opened):
    assert rows.step(*as_engine([([1, 2, 3], [])])) == [None]
    assert not opened


def test_a_request_that_was_away_is_found_again(rows, opened):
    rows.step(*as_engine([([1, 2], [10]), ([3], [11])]))
    for at in range(5):
        rows.step(*as_engine([([3] + [11] * (at + 1), [11])]))
    assert rows.step(*as_engine([([1, 2, 10], [])])) == [None]
    (back,) = rows.step(*as_engine([([1, 2, 10], [12])]))
    assert back.session is opened[0]
    assert back.session.booked[-1] == (0, 0)  # what was offered before it left was not checked


def test_the_same_prompt_asked_again_is_a_new_request(rows, opened):
    rows.step(*as_engine([([1, 2], [10])]))
    rows.step(*as_engine([([1, 2, 10], [END])]))
    rows.step(*as_engine([([1, 2], [10])]))
    assert len(opened) == 2


def test_the_next_turn_of_a_conversation_is_a_new_request(rows, opened):
    rows.step(*as_engine([([1, 2], [10])]))
    rows.step(*as_engine([([1, 2, 10], [END])]))
    rows.step(*as_engine([([1, 2, 10, END, 7, 8], [10])]))
    assert opened[-1].prompt == [1, 2, 10, END, 7, 8]


def test_a_prompt_that_goes_on_behind_an_old_answer_is_a_new_request(rows, opened):
    rows.step(*as_engine([([1, 2], [10])]))
    rows.step(*as_engine([([7], [10])]))
    rows.step(*as_engine([([1, 2, 10, 11], [10])]))
    assert opened[-1].prompt == [1, 2, 10, 11]


def test_requests_that_grew_unseen_leave_each_other_their_own(rows, opened):
    rows.step(*as_engine([([1], [10, 11]), ([1], [10])]))
    first, second = rows.step(*as_engine([([1, 10, 11, 12], [13]), ([1, 10, 12], [13])]))
    assert (first.session, second.session) == tuple(opened)


def test_a_request_that_was_cut_back_keeps_its_prompt(rows, opened):
    rows.step(*as_engine([([1, 2], [10, 11, 12])]))
    (row,) = rows.step(*as_engine([([1, 2, 10], [13])]))
    assert (row.session.prompt, row.session.answer) == ([1, 2], [10, 13])
    assert row.session is not opened[0]


def test_only_so_many_lost_requests_are_kept(rows, opened, monkeypatch):
    monkeypatch.setattr(rows_module, "LOST", 4)
    for prompt in range(20):
        rows.step(*as_engine([([prompt], [10])]))
    assert [session.closed for session in opened] == [True] * 15 + [False] * 5
    assert len(rows._recent) == len(rows._known) == 5


def test_what_was_offered_and_right_is_booked(rows):
    (row,) = rows.step(*as_engine([([1], [10])]))
    row.offer(Proposal.chain([11, 12, 13, 14]), [11, 12, 13])
    (row,) = rows.step(*as_engine([([1, 10], [11, 12, 9])]))
    assert row.session.booked[-1] == (3, 2)
    assert (row.checked, row.accepted) == (3, 2)
    row.offer(Proposal.chain([7]), [7])
    (row,) = rows.step(*as_engine([([1, 10, 11, 12, 9], [7])]))
    assert row.session.booked[-1] == (1, 0)  # the pass's last token is the model's own


def test_ids_that_the_engine_does_not_know_are_never_offered():
    class Wild(Pure):
        def propose_many(self, sessions, rooms, price, pending):
            return [Proposal.chain([VOCAB]), Proposal.chain([5, -1]), Proposal.chain([5])]

    drafts = drafts_of(Wild())
    assert drafts.propose(*as_engine([([1], [2]), ([2], [2]), ([3], [2])])) == [[], [], [5]]


def test_a_draft_that_is_never_right_is_rested():
    class Wrong(Pure):
        def propose_many(self, sessions, rooms, price, pending):
            return [Proposal.chain([5] * 6) for _ in sessions]

    drafts = Drafts(Wrong(), Price.from_points({1: 1.0, 7: 3.0}), [END], VOCAB, LONGEST, MOST)
    offered = [drafts.propose(*as_engine([([1] * (n + 1), [1])]))[0] for n in range(12)]
    assert offered[0] == [5] * 6
    assert offered[-1] == []
