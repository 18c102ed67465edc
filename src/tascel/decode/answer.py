"""One request under way: what is read and written so far, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tascel.decode.engine import Engine, Row, Verdict
from tascel.decode.pick import Picker
from tascel.decode.reach import Reach
from tascel.decode.stop import Detokenizer, Stopper
from tascel.decode.walk import walk
from tascel.draft.base import Attentive, Proposal, Session
from tascel.draft.prediction import Prediction
from tascel.errors import ModelError, RequestError
from tascel.types import SOURCES, Chunk, Completion, Constraint, Ids, Logprobs, Request, Stats


def longest_answer(engine: Engine, request: Request) -> int:
    """How many tokens the answer to `request` may have.

    Raises:
        RequestError: an empty prompt or one with ids outside the vocabulary, a prompt that leaves
            no room in the context or the cache, no token asked for, a bias on an id outside the
            vocabulary, or an empty stop string.
    """
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
    if any(not 0 <= id_ < engine.vocab_size for id_, _ in request.sampling.logit_bias):
        raise RequestError(
            f"{request.id}: a biased id is outside the vocabulary",
            f"Ids run from 0 to {engine.vocab_size - 1}",
        )
    if "" in request.stop:
        raise RequestError(f"{request.id}: a stop string is empty", "Leave it out")
    longest = min(request.max_tokens, limit - length)
    if length + longest > engine.cache_tokens:
        raise RequestError(
            f"{request.id}: prompt and answer may have {length + longest} tokens, the cache "
            f"{engine.cache_tokens}",
            "Ask for fewer tokens, shorten the prompt or give the cache more tokens",
        )
    return longest


@runtime_checkable
class Routed(Protocol):
    """A draft's session that knows which of several tasks it serves."""

    task: str


@dataclass(slots=True, eq=False)
class Answer:
    """One request's state in the loop.

    `unread` is what of the prompt no pass has read yet; `limit` how many tokens may be written;
    `failed` why the answer cannot go on; `reach` how far the engine may run ahead, which took
    `rough_passes` so far.
    """

    request: Request
    limit: int
    shared: int
    stopper: Stopper
    picker: Picker
    row: Row
    unread: Ids
    session: Session | None = None
    prediction: Prediction | None = None
    constraint: Constraint | None = None
    written: list[int] = field(default_factory=list[int])
    chunks: list[Chunk] = field(default_factory=list[Chunk])
    seconds: list[float] = field(default_factory=list[float])
    prefill_passes: int = 0
    offered: Counter[str] = field(default_factory=Counter[str])
    rejects: int = 0
    block_stops: int = 0
    failed: Exception | None = None
    reach: Reach = field(default_factory=Reach)
    rough_passes: int = 0

    @staticmethod
    def start(engine: Engine, request: Request, detokenizer: Detokenizer) -> Answer:
        """Open a row for `request`. Raises as `longest_answer` does."""
        limit = longest_answer(engine, request)
        stopper = Stopper(engine.eos_ids, request.stop, limit, detokenizer)
        constraint = request.grammar.start() if request.grammar is not None else None
        picker = Picker(request, constraint)
        row, shared = engine.open(request.prompt, len(request.prompt) + limit, request.tenant)
        return Answer(
            request,
            limit,
            shared,
            stopper,
            picker,
            row,
            request.prompt[shared:],
            constraint=constraint,
        )

    @property
    def done(self) -> bool:
        """Whether the answer has ended, well or not."""
        return self.stopper.reason is not None or self.failed is not None

    @property
    def read_tokens(self) -> int:
        """How much of the prompt lies in the cache."""
        return len(self.request.prompt) - len(self.unread)

    @property
    def guided(self) -> bool:
        """Whether more than the draft knows what may come next."""
        return self.prediction is not None or self.constraint is not None

    def lead(self, most: int) -> Ids:
        """What the next pass must read: the next piece of the prompt, of at most `most` tokens, or
        the token last written."""
        if len(self.unread):
            return self.unread[:most]
        return np.array(self.written[-1:], np.int32)

    def room(self, engine: Engine) -> int:
        """How deep a draft may go: never beyond what the answer or the context may still grow."""
        length = len(self.request.prompt) + len(self.written)
        return max(0, min(self.limit - len(self.written) - 1, engine.draft_limit - length))

    def read(self, count: int, seconds: float) -> None:
        """Note that a pass read `count` more tokens of the prompt and others are left."""
        self.unread = self.unread[count:]
        self.seconds.append(seconds)
        self.prefill_passes += 1

    def guess(self, verdict: Verdict, further: Sequence[int]) -> int | None:
        """What a rough verdict lets come after the answer and `further`; None if that ends it, or
        nothing can be told."""
        self.rough_passes += 1
        try:
            token = self.picker.guess(verdict, -1, [*self.written, *further])
        except ModelError:  # the check will find what is wrong, if anything is
            return None
        return None if self.stopper.ends(token) else token

    def take(self, verdict: Verdict, offered: Proposal) -> tuple[list[Chunk], list[int]]:
        """Write what the pass allows: the accepted path, then the model's own token."""
        fresh: list[Chunk] = []
        path: list[int] = []
        try:
            self._walk(verdict, offered, fresh, path)
        except Exception as error:  # this answer's alone: its batch mates go on
            self.failed = error
        self.chunks += fresh
        codes: list[int] = offered.source.tolist()
        self.offered.update(SOURCES[code] for code in codes)
        refused = len(fresh) > len(path) and np.any(offered.parents == (path or [-1])[-1])
        self.rejects += bool(refused)
        self.reach.learn(offered, len(path))
        return fresh, path

    def _walk(
        self, verdict: Verdict, offered: Proposal, fresh: list[Chunk], path: list[int]
    ) -> None:
        """Go down the tree along the picked tokens, into `fresh` and `path`."""
        before = -1
        for token, node in walk(offered, lambda at: self.picker.pick(verdict, at, self.written)):
            text = self.stopper.push(token)
            self.written.append(token)
            source = "model" if node < 0 else SOURCES[int(offered.source[node])]
            logprobs = self._logprobs(verdict, before, token)
            fresh.append(Chunk(token, text, source, len(self.seconds), logprobs))
            before = node
            if node >= 0:
                path.append(node)
            if self.done:
                self.block_stops += node >= 0
                break

    def settle(self, fresh: list[Chunk], offered: Proposal, taken: int, seconds: float) -> None:
        """Tell the drafts what was written, and book the pass."""
        tokens = [chunk.token for chunk in fresh]
        if self.session is not None:
            self.session.accept(tokens, offered, taken)
        if self.prediction is not None:
            self.prediction.accept(tokens)
        if len(self.unread):
            self.unread = self.unread[:0]
            self.prefill_passes += 1
        self.seconds.append(seconds)

    def close(self, engine: Engine) -> None:
        """Free the row and the draft's memory of it, which hears first how an answer ended."""
        engine.close(self.row)
        if self.session is None:
            return
        reason = self.stopper.reason
        if reason is not None and self.failed is None and isinstance(self.session, Attentive):
            self.session.finish(reason)
        self.session.close()

    def completion(self) -> Completion:
        """The finished answer."""
        assert self.stopper.reason is not None
        sources = tuple(chunk.source for chunk in self.chunks)
        return Completion(
            text="".join(chunk.text for chunk in self.chunks),
            tokens=tuple(self.written),
            sources=sources,
            finish_reason=self.stopper.reason,
            stats=Stats(
                steps=len(self.seconds) + self.rough_passes,
                prefill_seconds=sum(self.seconds[: self.prefill_passes]),
                decode_seconds=sum(self.seconds[self.prefill_passes :]),
                shared=self.shared,
                offered=self.offered,
                accepted=Counter(source for source in sources if source != "model"),
                rejects=self.rejects,
                block_stops=self.block_stops,
                task=self.session.task if isinstance(self.session, Routed) else None,
            ),
            logprobs=tuple(chunk.logprobs for chunk in self.chunks if chunk.logprobs),
        )

    def _logprobs(self, verdict: Verdict, node: int, token: int) -> Logprobs | None:
        top = self.request.logprobs
        return None if top is None else logprobs(verdict.logits(node), token, top)


def logprobs(logits: NDArray[np.float32], token: int, top: int) -> Logprobs:
    """Log-probabilities of `token` and the `top` likeliest ids; of equals the lower id first."""
    scores = logits.astype(np.float64)
    scores -= scores.max() + np.log(np.exp(scores - scores.max()).sum())
    top = min(top, len(scores))
    least = np.partition(scores, -top)[-top] if top else np.inf
    best: list[int] = np.flatnonzero(scores >= least).tolist()
    best.sort(key=lambda id_: (-scores[id_], id_))
    return Logprobs(float(scores[token]), tuple((id_, float(scores[id_])) for id_ in best[:top]))
