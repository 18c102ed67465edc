"""A model and its bundle, ready to answer: prompts in, completions out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.engine import Engine
from tascel.decode.loop import Loop, complete, decode
from tascel.decode.reach import Habit
from tascel.decode.schedule import Event, Scheduler
from tascel.decode.watch import Watch
from tascel.draft.base import Draft, Forgetful, Lasting
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.engines.profile import Setting
from tascel.errors import RequestError
from tascel.traces.record import conversation
from tascel.types import Chunk, Completion, Grammar, Message, Processor, Request, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tascel.engines.hf.condition import Conditioner


class Asked(TypedDict, total=False):
    """What a prompt may be asked with.

    Attributes:
        max_tokens: of the answer, 512 unless given.
        task: whose draft to use, by name; otherwise, or if the bundle has none so called, the
            prompt tells.
        tenant: whose bundle drafts, by name, where the runner has several.
        prediction: what the answer is expected to be, a source of drafts.
        grammar: what it must look like; `tascel.grammar.Grammars` makes them.
        processors: makes what else changes logits; called once for each answer.
        logprobs: wanted for each token, with so many likeliest ones.
        drafts: False decodes plainly, also among others.
    """

    tools: Sequence[Message] | None
    sampling: Sampling | None
    stop: Sequence[str]
    max_tokens: int
    task: str | None
    tenant: str | None
    prediction: str | None
    grammar: Grammar | None
    processors: Callable[[], Sequence[Processor]] | None
    logprobs: int | None
    drafts: bool


@dataclass(slots=True, eq=False)
class Runner:
    """Answers prompts, drafting where it pays, one at a time or many.

    Attributes:
        model: the model where transformers runs it, else None.
        draft: None decodes plainly.
        breaker: stops the draft when it has not paid; shared by all requests of the runner.
        setting: what was measured for `price`.
        head: "full", "lossless" or "fast".
        habit: how far the engine runs ahead under a lossless head where nothing is drafted; shared
            as the breaker is.
        conditioner: says what prompts are fed as, where the model is bridged to a larger one.
        tenants: the bundle of each, where several share the model; then `bundle` is None, and each
            tenant has a breaker of its own instead of this one.
    """

    model: PreTrainedModel | None
    engine: Engine
    codec: Codec
    draft: Draft | None
    price: Price
    setting: Setting
    breaker: Breaker
    bundle: Bundle | None = None
    head: str = "full"
    habit: Habit = field(default_factory=Habit)
    conditioner: Conditioner | None = None
    tenants: Mapping[str, Bundle] = field(default_factory=dict[str, Bundle])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write down what was learned, if the draft learns, and stop learning. It answers still."""
        if isinstance(self.draft, Lasting):
            self.draft.close()

    def generate(self, prompt: str | Sequence[Message], **asked: Unpack[Asked]) -> Completion:
        """Answer one prompt (text, or messages in OpenAI's shape).

        Raises:
            RequestError: the prompt is longer than the context, or a setting is impossible.
        """
        return complete(self.run(self.request(prompt, **asked)))

    def stream(
        self, prompt: str | Sequence[Message], **asked: Unpack[Asked]
    ) -> Generator[Chunk, None, Completion]:
        """As `generate`, token by token: each chunk names who drafted it."""
        return self.run(self.request(prompt, **asked))

    def request(self, prompt: str | Sequence[Message], **asked: Unpack[Asked]) -> Request:
        """The request as ids. A missing seed is drawn here, so that a request is repeatable.

        Raises:
            RequestError: the messages are malformed, or the chat template refuses them.
        """
        if not isinstance(prompt, str):
            prompt = conversation(prompt)
        sampling = asked.get("sampling") or Sampling()
        if sampling.seed is None:
            sampling = replace(sampling, seed=secrets.randbits(63))
        expected = asked.get("prediction")
        return Request(
            id=f"request {next(_serial)}",
            prompt=self.codec.prompt(prompt, asked.get("tools")),
            sampling=sampling,
            stop=tuple(asked.get("stop", ())),
            max_tokens=asked.get("max_tokens", 512),
            task=asked.get("task"),
            tenant=asked.get("tenant"),
            prediction=None if expected is None else self.codec.output(expected),
            grammar=asked.get("grammar"),
            processors=asked.get("processors"),
            logprobs=asked.get("logprobs"),
            drafts=asked.get("drafts", True),
        )

    def run(
        self,
        request: Request,
        *,
        draft: Draft | None = None,
        breaker: Breaker | None = None,
        plain: bool = False,
        watch: Watch | None = None,
    ) -> Generator[Chunk, None, Completion]:
        """Answer a request with the runner's draft and breaker, with others, or with no draft
        and token by token (`plain`). A `watch` hears what came of each drafted pass."""
        if plain:
            return decode(self.engine, None, request, self.price, self.codec.stream())
        return decode(
            self.engine,
            draft or self.draft,
            request,
            self.price,
            self.codec.stream(),
            self._breaker if draft is None else breaker,
            self.habit,
            watch,
        )

    def run_many(
        self, requests: Iterable[Request], rows: int = 16, *, plain: bool = False
    ) -> Iterator[Event]:
        """Answer requests in batches of at most `rows`, taken from `requests` as rows get free.

        Yields what each pass brought each request; one that cannot be served ends with an error
        and does not stop the others.
        """
        scheduler, coming = self.scheduler(rows, plain=plain), iter(requests)
        try:
            while True:
                while scheduler.waiting < rows and (request := next(coming, None)) is not None:
                    try:
                        scheduler.add(request)
                    except RequestError as error:
                        yield Event(request, (), error=error)
                if not scheduler.waiting and not scheduler.running:
                    return
                yield from scheduler.step()
        finally:
            scheduler.clear()

    def forget(self) -> None:
        """As freshly loaded: what requests taught the draft and the breaker is dropped, and so are
        the prompts kept in the cache."""
        self.breaker = Breaker(self.price)
        self.habit = Habit()
        if isinstance(self.draft, Forgetful):
            self.draft.forget()
        self.engine.forget()

    @property
    def _breaker(self) -> Breaker | None:
        return None if self.tenants else self.breaker

    def scheduler(
        self, rows: int = 16, *, plain: bool = False, watch: Watch | None = None
    ) -> Scheduler:
        """For many requests at once, at most `rows` in a pass; with the runner's draft and breaker,
        or with no draft (`plain`). A `watch` hears what came of each pass."""
        draft, breaker = (None, None) if plain else (self.draft, self._breaker)
        habit = None if plain else self.habit
        loop = Loop(self.engine, draft, self.price, breaker, habit, watch)
        return Scheduler(loop, self.codec.stream, rows)


_serial: Iterator[int] = count(1)
