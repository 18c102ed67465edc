"""A model and its bundle, ready to answer: the Python API's `load`."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np

from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.engine import Engine
from tascel.decode.loop import Loop, complete, decode
from tascel.decode.reach import Habit
from tascel.decode.schedule import Event, Scheduler
from tascel.draft.base import Draft, Forgetful
from tascel.draft.breaker import Breaker
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price
from tascel.engines.profile import Setting, machine, price_of
from tascel.errors import RequestError
from tascel.store.manifest import public_command
from tascel.traces.record import conversation
from tascel.types import Chunk, Completion, Grammar, Message, Processor, Request, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tascel.engines.hf.condition import Conditioner
    from tascel.engines.hf.shelf import ShelvedDraft
    from tascel.engines.hf.vocabulary import Vocabulary
    from tascel.selection import Selection

#: How the vocabulary's matrices may be used.
HEADS = ("auto", "full", "lossless", "fast")


class Asked(TypedDict, total=False):
    """What a prompt may be asked with.

    Attributes:
        max_tokens: of the answer, 512 unless given.
        task: whose draft to use, by name; otherwise, or if the bundle has none so called, the
            prompt tells.
        prediction: what the answer is expected to be, a source of drafts.
        grammar: what it must look like; `tascel.grammar.Grammars` makes them.
        processors: makes what else changes logits; called once for each answer.
        logprobs: wanted for each token, with so many likeliest ones.
    """

    tools: Sequence[Message] | None
    sampling: Sampling | None
    stop: Sequence[str]
    max_tokens: int
    task: str | None
    prediction: str | None
    grammar: Grammar | None
    processors: Callable[[], Sequence[Processor]] | None
    logprobs: int | None


@dataclass(slots=True, eq=False)
class Runner:
    """Answers prompts, drafting where it pays, one at a time or many.

    Attributes:
        draft: None decodes plainly.
        breaker: stops the draft when it has not paid; shared by all requests of the runner.
        setting: what was measured for `price`.
        head: "full", "lossless" or "fast".
        habit: how far the engine runs ahead under a lossless head where nothing is drafted; shared
            as the breaker is.
        conditioner: says what prompts are fed as, where the model is bridged to a larger one.
    """

    model: PreTrainedModel
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
            prediction=None if expected is None else self.codec.output(expected),
            grammar=asked.get("grammar"),
            processors=asked.get("processors"),
            logprobs=asked.get("logprobs"),
        )

    def run(
        self,
        request: Request,
        *,
        draft: Draft | None = None,
        breaker: Breaker | None = None,
        plain: bool = False,
    ) -> Generator[Chunk, None, Completion]:
        """Answer a request with the runner's draft and breaker, with others, or with no draft
        and token by token (`plain`)."""
        if plain:
            return decode(self.engine, None, request, self.price, self.codec.stream())
        return decode(
            self.engine,
            draft or self.draft,
            request,
            self.price,
            self.codec.stream(),
            self.breaker if draft is None else breaker,
            self.habit,
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

    def scheduler(self, rows: int = 16, *, plain: bool = False) -> Scheduler:
        """For many requests at once, at most `rows` in a pass; with the runner's draft and breaker,
        or with no draft (`plain`)."""
        draft, breaker = (None, None) if plain else (self.draft, self.breaker)
        loop = Loop(self.engine, draft, self.price, breaker, None if plain else self.habit)
        return Scheduler(loop, self.codec.stream, rows)


_serial: Iterator[int] = count(1)


def load(
    bundle: str | Path | None,
    *,
    model: str | Path,
    adapter: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    config: DraftConfig | None = None,
    drafts: bool = True,
    head: str = "auto",
    cache_tokens: int | None = None,
    large: str | Path | None = None,
    profile: Callable[[int, int], None] = lambda done, total: None,
) -> Runner:
    """Open a bundle and the model it was built for, warmed up.

    Args:
        bundle: the bundle's folder; None decodes plainly.
        model: Hugging Face id or folder.
        adapter: a PEFT folder on top of it.
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: as torch names it; default: a GPU if there is one.
        config: how to draft.
        drafts: False runs without drafts, and so runs models that cannot take drafts back.
        head: "full" is the model's own; with "lossless" the ids that the bundle selects and the
            prompt's guess and the whole head, off the device, has the last word; with "fast" no
            other id is ever written. "auto": lossless if the bundle has a selection, else full.
        cache_tokens: what all requests together may hold of the KV cache, prompts and answers.
        large: where the large model of a bridged one is, if not where its folder says.
        profile: hears how far measuring the verify cost is, if that has to be done now.

    Raises:
        ModelError: the model or adapter cannot be loaded, or cannot check drafts; its vocabulary
            cannot be tailored; the large model that it is bridged to is missing, or one of the
            two has changed.
        BundleError: the bundle is damaged or belongs to another tokenizer.
        RequestError: there is no such head, or the bundle has no selection for it.
    """
    from tascel.engines.hf.bridge.folder import open_bridge, read_bridge
    from tascel.engines.hf.load import fingerprint, load_model, load_tailored, tokenizer_of

    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    opened = Bundle.open(bundle, codec) if bundle is not None else None
    head, selection = _head(head, opened)
    vocabulary = None
    facts = read_bridge(model)
    if facts is None and large is not None:
        raise RequestError(f"{model} is bridged to no large model", "Leave --large out")
    if selection is None:
        lm = load_model(model, adapter, dtype, device, bridged=facts is not None)
    else:
        lm, vocabulary = load_tailored(
            model, selection.ids, head == "lossless", adapter, dtype, device,
            bridged=facts is not None,
        )  # fmt: skip
    bridge = open_bridge(model, facts, lm, codec, large) if facts is not None else None
    weights = fingerprint(model, adapter)
    if opened and opened.manifest.weights not in (None, weights):
        warnings.warn(
            f"{bundle} was built from other weights than these: answers stay exact, drafts may "
            "fit less well; build it again if this model answers differently",
            stacklevel=2,
        )
    name = " + ".join(public_command([str(part) for part in (model, adapter) if part]))
    return attach(
        lm, codec, opened, name=name, weights=weights, config=config, drafts=drafts,
        cache_tokens=cache_tokens, profile=profile, vocabulary=vocabulary, head=head,
        conditioner=bridge,
    )  # fmt: skip


def _head(asked: str, bundle: Bundle | None) -> tuple[str, Selection | None]:
    """Which head to run with, and the ids it needs."""
    if asked not in HEADS:
        raise RequestError(f"unknown head {asked}", f"Choose one of {', '.join(HEADS)}")
    selection = bundle.selection if bundle is not None else None
    if asked == "auto":
        asked = "full" if selection is None else "lossless"
    if asked == "full":
        return asked, None
    if selection is None:
        raise RequestError(
            f"a {asked} head needs a bundle with a selection", "`tascel tailor --bundle` stores one"
        )
    return asked, selection


def attach(
    model: PreTrainedModel,
    codec: Codec,
    bundle: Bundle | None,
    *,
    name: str,
    weights: str,
    config: DraftConfig | None = None,
    drafts: bool = True,
    cache_tokens: int | None = None,
    profile: Callable[[int, int], None] = lambda done, total: None,
    vocabulary: Vocabulary | None = None,
    head: str = "full",
    conditioner: Conditioner | None = None,
) -> Runner:
    """A runner of a model and a bundle that are loaded already, warmed up; as `load` else.

    `name` and `weights`, a digest, say what the price of a pass is kept for. `vocabulary` is the
    model's if `head` is not "full". `conditioner` says what prompts are fed as.
    """
    from tascel.engines.hf.engine import HfEngine

    engine = HfEngine(
        model, allow_no_drafts=not drafts, cache_tokens=cache_tokens,
        vocabulary=vocabulary, lossless=head == "lossless",
        conditioner=conditioner,
    )  # fmt: skip
    how = "packed" if engine.packed else "row by row"
    if vocabulary is not None:
        how += f", {head} head of {len(vocabulary.head.static)}"
    setting = _setting(model, how, name, weights)
    draft: Draft | None = None
    price = Price.free()
    if bundle and drafts:
        price = price_of(engine, setting, progress=profile)
        config = config or DraftConfig()
        config = replace(config, trees=config.trees and engine.trees)
        full = model if vocabulary is None else None
        draft = bundle.draft(config, _neural(bundle, full, weights, engine, price, config))
    runner = Runner(model, engine, codec, draft, price, setting, Breaker(price), bundle, head,
                    conditioner=conditioner)  # fmt: skip
    warm = Request("warm-up", np.array([codec.end_id] * 4, np.int32), max_tokens=2)
    complete(runner.run(warm, draft=draft, plain=draft is None))
    runner.forget()
    return runner


def _neural(
    bundle: Bundle,
    model: PreTrainedModel | None,
    weights: str,
    engine: Engine,
    price: Price,
    config: DraftConfig,
) -> Callable[[int], ShelvedDraft] | None:
    """What makes the bundle's neural drafts; None if it has none, or none for this `model`, which
    is None where its head is tailored."""
    neural = bundle.neural
    if neural is None or not neural.drafts or not config.neural_bytes:
        return None
    if neural.target != weights or model is None:
        whose = "other weights than these" if model is not None else "a head that is not tailored"
        warnings.warn(
            f"{bundle.path} has neural drafts for {whose}: n-grams draft alone", stacklevel=4
        )
        return None
    from tascel.engines.hf.shelf import Shelf

    shelf = Shelf(
        model, neural, bundle.path, price, engine.vocab_size, config.neural_bytes,
        engine.cache_tokens,
    )  # fmt: skip
    return shelf.draft


def _setting(model: PreTrainedModel, how: str, name: str, weights: str) -> Setting:
    import torch

    device = model.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    return Setting(
        model=name,
        weights=weights,
        device=device.type,
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        runtime=f"torch {torch.__version__}, {how}",
        machine=gpu,
    )
