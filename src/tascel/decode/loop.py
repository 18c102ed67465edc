"""The decode loop: propose, check, walk, keep. Moves ids only; never sees a tensor or a file."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, cast

import numpy as np

from tascel.decode.ahead import run_ahead
from tascel.decode.answer import Answer, longest_answer
from tascel.decode.engine import Engine
from tascel.decode.reach import Habit, Reach
from tascel.decode.stop import Detokenizer
from tascel.decode.walk import ours, trim
from tascel.decode.watch import Step, Watch
from tascel.draft.base import BatchDraft, Draft, Proposal, Session
from tascel.draft.merge import afford, merge, select
from tascel.draft.prediction import Prediction
from tascel.draft.price import Price
from tascel.types import SOURCES, Chunk, Completion, Ids, Request

#: On longer prompts the first proposal is a chain: a tree needs a mask of prompt x prompt.
LONGEST_MASKED_PROMPT = 4096
#: Prompt tokens read at a time where a mask is needed, or others wait.
PIECE = 512
#: No pass of a batch is offered more drafted tokens: a bound on memory that no price reaches.
WIDEST = 1024


class Breaker(Protocol):
    """Says when a draft has stopped paying."""

    def allows(self) -> bool:
        """Whether this step may be drafted; asked once a step."""
        ...

    def record(self, offered: int, accepted: int, pending: int, rows: int) -> None:
        """One drafted pass of `rows` rows: tokens offered and accepted, beside `pending` tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Loop:
    """An engine and what drafts for it. One `step` is one pass over any number of answers.

    The tokens are those of plain decoding (`draft` None), whatever the draft proposes and whoever
    shares the pass. Where nothing is proposed the engine runs ahead, if it can and there is a
    `habit`, which remembers from answer to answer how far. A `watch` hears what came of each pass.
    """

    engine: Engine
    draft: Draft | None
    price: Price
    breaker: Breaker | None = None
    habit: Habit | None = None
    watch: Watch | None = None

    def start(self, request: Request, detokenizer: Detokenizer) -> Answer:
        """Open a row and the drafts for `request`. Raises as `decode` does."""
        session, drafts = None, self.engine.drafts and request.drafts
        if drafts and self.draft is not None:
            session = self.draft.open(request)
        try:
            answer = Answer.start(self.engine, request, detokenizer)
        except Exception:
            if session is not None:
                session.close()
            raise
        answer.session = session
        if self.habit is not None and session is None:
            answer.reach = Reach(self.habit.first)
        if drafts and request.prediction is not None and len(request.prediction):
            answer.prediction = Prediction(request.prediction)
        return answer

    def step(
        self, answers: Sequence[Answer], pieces: Sequence[int] | None = None
    ) -> list[list[Chunk]]:
        """One pass: every answer reads more of its prompt, at most its number of `pieces`, or goes
        on.

        Returns the new chunks by answer; none for one that has more to read.
        """
        started = perf_counter()
        pieces = pieces or [len(answer.unread) for answer in answers]
        turns = [
            _Turn.of(answer, piece, self.engine)
            for answer, piece in zip(answers, pieces, strict=True)
        ]
        self._propose(turns)
        self._run_ahead(turns)
        verdicts = self.engine.check(
            [answer.row for answer in answers],
            [turn.lead for turn in turns],
            [turn.offered for turn in turns],
        )
        for turn, verdict in zip(turns, verdicts, strict=True):
            if not turn.reading:
                turn.chunks, turn.path = turn.answer.take(verdict, turn.offered)
        alive = [turn for turn in turns if not turn.answer.done]
        self.engine.keep([turn.answer.row for turn in alive], [turn.path for turn in alive])
        self._record(turns)
        for turn in turns:
            turn.settle(perf_counter() - started)
            answer = turn.answer
            alone = answer.session is None and answer.request.drafts
            if self.habit is not None and answer.done and alone:
                self.habit.learn(answer.reach)
        if self.watch is not None:
            for turn in turns:
                if not turn.reading:
                    self.watch(turn.answer.request, turn.step)
        return [turn.chunks for turn in turns]

    def _propose(self, turns: Sequence[_Turn]) -> None:
        """Fill in what this pass checks."""
        able = [turn for turn in turns if turn.room > 0]
        if not self.engine.drafts or not able:
            return
        pending = sum(len(turn.lead) for turn in turns)
        sure = sum(not turn.reading for turn in turns)
        for turn, drafted in zip(able, self._drafts(able, pending), strict=True):
            united = self._unite(turn, drafted)
            # No more nodes than tokens may still be written: a row never outgrows its size.
            turn.offered = select(united, np.arange(min(len(united), turn.room + 1)))
        if len(turns) > 1 or turns[0].answer.guided:
            # A lone draft was grown at this very price; anything else is weighed together.
            most = min(WIDEST, sum(len(turn.offered) for turn in able))
            cost = self.price.curve(pending, most, sure)
            afforded = afford([turn.offered for turn in able], sure, cost)
            for turn, offered in zip(able, afforded, strict=True):
                turn.offered = offered

    def _run_ahead(self, turns: Sequence[_Turn]) -> None:
        """Where nothing is drafted and no prompt read, offer what rough passes pick."""
        rough = self.engine.rough
        if (
            self.habit is not None
            and rough is not None
            and not any(len(turn.offered) or len(turn.answer.unread) for turn in turns)
            and all(turn.answer.request.drafts for turn in turns)
            and all(turn.answer.picker.stateless for turn in turns)
        ):
            chains = run_ahead(rough, self.engine, [turn.answer for turn in turns])
            for turn, chain in zip(turns, chains, strict=True):
                turn.offered = chain

    def _drafts(self, turns: Sequence[_Turn], pending: int) -> list[Proposal]:
        """What the draft proposes by turn; nothing while the breaker rests it."""
        draft = self.draft
        if draft is None or (self.breaker is not None and not self.breaker.allows()):
            return [Proposal.nothing() for _ in turns]
        sessions = [cast(Session, turn.answer.session) for turn in turns]
        rooms = [turn.room for turn in turns]
        if len(turns) > 1 and isinstance(draft, BatchDraft):
            return draft.propose_many(sessions, rooms, self.price, pending)
        return [
            session.propose(room, self.price, pending)
            for session, room in zip(sessions, rooms, strict=True)
        ]

    def _unite(self, turn: _Turn, drafted: Proposal) -> Proposal:
        """One proposal of all sources: the prediction, what the grammar forces, and the draft."""
        answer, engine, room = turn.answer, self.engine, turn.room
        trees = engine.trees and len(turn.lead) <= LONGEST_MASKED_PROMPT
        if not answer.guided:
            return trim(drafted, room, engine.vocab_size, trees)
        parts = [drafted]
        if answer.constraint is not None:
            parts.insert(0, Proposal.chain(answer.constraint.forced(), SOURCES.index("grammar")))
        if answer.prediction is not None:
            parts.insert(0, answer.prediction.propose(room))
        merged = merge([trim(part, room, engine.vocab_size) for part in parts])
        offered = trim(merged, room, engine.vocab_size, trees)
        if answer.constraint is None or not len(offered):
            return offered
        admitted = answer.constraint.admits(offered.tokens.tolist(), offered.parents.tolist())
        return select(offered, np.flatnonzero(admitted))

    def _record(self, turns: Sequence[_Turn]) -> None:
        """Tell the breaker how the draft's tokens fared."""
        if self.breaker is None:
            return
        drafted = [ours(turn.offered) for turn in turns]
        offered = sum(map(np.count_nonzero, drafted))
        if offered:
            taken = [own[turn.path] for own, turn in zip(drafted, turns, strict=True)]
            accepted = sum(map(np.count_nonzero, taken))
            pending = sum(len(turn.lead) for turn in turns)
            rows = sum(not turn.reading for turn in turns)
            self.breaker.record(int(offered), int(accepted), pending, rows)


@dataclass(slots=True)
class _Turn:
    """An answer in one pass: what it reads, whether there is more to read, how deep a draft behind
    that may go, what is checked, and what comes of it."""

    answer: Answer
    lead: Ids
    reading: bool
    room: int
    offered: Proposal = field(default_factory=Proposal.nothing)
    chunks: list[Chunk] = field(default_factory=list[Chunk])
    path: list[int] = field(default_factory=list[int])

    @staticmethod
    def of(answer: Answer, piece: int, engine: Engine) -> _Turn:
        """The answer's turn, in which it reads at most `piece` more tokens of its prompt."""
        lead = answer.lead(piece)
        reading = len(lead) < len(answer.unread)
        plain = reading or not answer.request.drafts
        return _Turn(answer, lead, reading, room=0 if plain else answer.room(engine))

    @property
    def step(self) -> Step:
        """What the pass was offered and what it wrote."""
        tokens = [chunk.token for chunk in self.chunks]
        written = len(self.answer.written) - len(tokens)
        return Step(written, self.offered, self.path, tokens)

    def settle(self, seconds: float) -> None:
        """Book the pass."""
        if self.reading:
            self.answer.read(len(self.lead), seconds)
        else:
            self.answer.settle(self.chunks, self.offered, len(self.path), seconds)


def decode(
    engine: Engine,
    draft: Draft | None,
    request: Request,
    price: Price,
    detokenizer: Detokenizer,
    breaker: Breaker | None = None,
    habit: Habit | None = None,
    watch: Watch | None = None,
) -> Generator[Chunk, None, Completion]:
    """Answer one request, token by token; the generator returns the Completion. The parameters are
    those of `Loop`.

    Closing the generator early frees the row and the draft's session.

    Raises:
        RequestError: what `longest_answer` refuses.
    """
    loop = Loop(engine, draft, price, breaker, habit, watch)
    longest_answer(engine, request)  # refused now, not at the first token
    return _run(loop, request, detokenizer)


def _run(
    loop: Loop, request: Request, detokenizer: Detokenizer
) -> Generator[Chunk, None, Completion]:
    answer = loop.start(request, detokenizer)
    try:
        while not answer.done:
            # Behind a shared beginning, attention needs a mask of what is read by what is there.
            whole = answer.shared == 0 and len(request.prompt) <= LONGEST_MASKED_PROMPT
            yield from loop.step([answer], None if whole else [PIECE])[0]
        if answer.failed is not None:
            raise answer.failed
        return answer.completion()
    finally:
        answer.close(loop.engine)


def complete(chunks: Generator[Chunk, None, Completion]) -> Completion:
    """Run `decode` to its end without looking at the chunks."""
    while True:
        try:
            next(chunks)
        except StopIteration as end:
            return end.value
