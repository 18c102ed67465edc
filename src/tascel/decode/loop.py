"""The decode loop: propose, check, walk, keep. Moves ids only; never sees a tensor or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np

from tascel.decode.engine import Engine, Row, Verdict
from tascel.decode.pick import Picker
from tascel.decode.stop import Detokenizer, Stopper
from tascel.decode.walk import trim, walk
from tascel.draft.base import Draft, Proposal, Session
from tascel.draft.price import Price
from tascel.errors import RequestError
from tascel.types import SOURCES, Chunk, Completion, FinishReason, Request, Stats

#: On longer prompts the first proposal is a chain: a tree needs a mask of prompt x prompt.
LONGEST_MASKED_PROMPT = 4096


class Breaker(Protocol):
    """Says when a draft has stopped paying."""

    def allows(self) -> bool:
        """Whether this step may be drafted; asked once a step."""
        ...

    def record(self, offered: int, accepted: int, pending: int) -> None:
        """One drafted step: tokens offered and accepted, on a pass of `pending` tokens anyway."""
        ...


def decode(
    engine: Engine,
    draft: Draft | None,
    request: Request,
    price: Price,
    detokenizer: Detokenizer,
    breaker: Breaker | None = None,
) -> Generator[Chunk, None, Completion]:
    """Answer one request, token by token; the generator returns the Completion.

    The tokens are those of plain decoding (`draft` None), whatever the draft proposes. Closing the
    generator early frees the row and the draft's session.

    Raises:
        RequestError: an empty prompt or one with ids outside the vocabulary, a prompt that leaves
            no room in the context, no token asked for, or an empty stop string.
    """
    limit = _limit(engine, request)
    stopper = Stopper(engine.eos_ids, request.stop, limit, detokenizer)
    answer = _Answer(engine, request, limit, stopper, Picker(request.sampling, request.prompt))
    return answer.run(draft, price, breaker)


def complete(chunks: Generator[Chunk, None, Completion]) -> Completion:
    """Run `decode` to its end without looking at the chunks."""
    while True:
        try:
            next(chunks)
        except StopIteration as end:
            return end.value


def _limit(engine: Engine, request: Request) -> int:
    """How many tokens the answer may have."""
    length, limit = len(request.prompt), engine.context_limit
    if length == 0:
        raise RequestError(f"{request.id}: the prompt is empty", "Give it some text")
    if length >= limit:
        raise RequestError(
            f"{request.id}: the prompt has {length} tokens, the model's context {limit}",
            "Shorten the prompt or use a model with a longer context",
        )
    if request.prompt.min() < 0 or request.prompt.max() >= engine.vocab_size:
        raise RequestError(
            f"{request.id}: the prompt has ids that the model does not know",
            "Encode it with the model's own tokenizer",
        )
    if request.max_tokens < 1:
        raise RequestError(
            f"{request.id}: asked for {request.max_tokens} tokens", "Ask for at least one"
        )
    return min(request.max_tokens, limit - length)


@dataclass(slots=True)
class _Answer:
    """One request under way: what is written so far, and what it cost."""

    engine: Engine
    request: Request
    limit: int
    stopper: Stopper
    picker: Picker
    written: list[int] = field(default_factory=list[int])
    sources: list[str] = field(default_factory=list[str])
    text: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])
    offered: int = 0
    rejects: int = 0
    block_stops: int = 0

    def run(
        self, draft: Draft | None, price: Price, breaker: Breaker | None
    ) -> Generator[Chunk, None, Completion]:
        started = perf_counter()
        row: Row = None
        session: Session | None = None
        with ExitStack() as stack:
            if draft is not None and self.engine.drafts:
                session = draft.open(self.request)
                stack.callback(session.close)
            while self.stopper.reason is None:
                pending = 1 if self.written else len(self.request.prompt)
                offered = Proposal.nothing()
                if session is not None and (breaker is None or breaker.allows()):
                    offered = self._propose(session, price, pending)
                if self.written:
                    roots = np.array(self.written[-1:], np.int32)
                    (verdict,) = self.engine.check([row], roots, [offered])
                else:
                    (row,), (verdict,) = self.engine.prefill([self.request], [offered])
                    stack.callback(self.engine.close, row)
                chunks, path = self._take(verdict, offered)
                if self.stopper.reason is None:
                    self.engine.keep(row, path)
                if session is not None:
                    session.accept([chunk.token for chunk in chunks], offered, len(path))
                if breaker is not None and len(offered):
                    breaker.record(len(offered), len(path), pending)
                self.seconds.append(perf_counter() - started)
                yield from chunks
                started = perf_counter()
        return self._completion(self.stopper.reason)

    def _propose(self, session: Session, price: Price, pending: int) -> Proposal:
        """What this pass checks: never deeper than the answer or the context may still grow."""
        length = len(self.request.prompt) + len(self.written)
        room = min(self.limit - len(self.written) - 1, self.engine.draft_limit - length)
        if room <= 0:
            return Proposal.nothing()
        trees = self.engine.trees and pending <= LONGEST_MASKED_PROMPT
        return trim(session.propose(room, price, pending), room, self.engine.vocab_size, trees)

    def _take(self, verdict: Verdict, offered: Proposal) -> tuple[list[Chunk], list[int]]:
        """Write what the pass allows: the accepted path, then the model's own token."""
        chunks: list[Chunk] = []
        path: list[int] = []
        for token, node in walk(offered, lambda at: self.picker.pick(verdict, at, self.written)):
            source = "model" if node < 0 else SOURCES[int(offered.source[node])]
            text = self.stopper.push(token)
            self.written.append(token)
            self.sources.append(source)
            self.text.append(text)
            chunks.append(Chunk(token, text, source, step=len(self.seconds)))
            if node >= 0:
                path.append(node)
            if self.stopper.reason is not None:
                self.block_stops += node >= 0
                break
        self.offered += len(offered)
        refused = len(chunks) > len(path) and np.any(offered.parents == (path or [-1])[-1])
        self.rejects += bool(refused)
        return chunks, path

    def _completion(self, reason: FinishReason) -> Completion:
        return Completion(
            text="".join(self.text),
            tokens=tuple(self.written),
            sources=tuple(self.sources),
            finish_reason=reason,
            stats=Stats(
                steps=len(self.seconds),
                prefill_seconds=self.seconds[0],
                decode_seconds=sum(self.seconds[1:]),
                offered=self.offered,
                accepted=Counter(source for source in self.sources if source != "model"),
                rejects=self.rejects,
                block_stops=self.block_stops,
            ),
        )
