"""Who competes in a benchmark: our loop with a draft or with none, and stock transformers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from tascel.bench.peers import VARIANTS, Peers
from tascel.decode.watch import Watch as Steps
from tascel.draft.breaker import Breaker
from tascel.errors import RequestError
from tascel.runner import Runner
from tascel.types import Chunk, Completion, Request


@dataclass(frozen=True, slots=True)
class Answer:
    """What one contender made of one prompt. `steps` counts passes, the prefill included; `offered`
    the tokens of drafts, by source, and `drafted` those that were right; `sources` who wrote each
    token, where the contender knows; `task` whose draft served, where a bundle has several."""

    tokens: tuple[int, ...]
    prefill_seconds: float
    decode_seconds: float
    steps: int
    drafted: Mapping[str, int] = field(default_factory=dict[str, int])
    sources: tuple[str, ...] = ()
    task: str | None = None
    offered: Mapping[str, int] = field(default_factory=dict[str, int])


Contender = Callable[[Request], Answer]
#: Sees each token of our own contenders as it comes, outside the timed part.
Watch = Callable[[str, Chunk], None]


def contenders(
    runner: Runner, names: list[str], watch: Watch | None = None, steps: Steps | None = None
) -> dict[str, Contender]:
    """The contenders called `names`, ready to answer. `steps` hears those of "tascel".

    Raises:
        RequestError: nobody has that name, or it needs a bundle.
    """
    known: dict[str, Callable[[], Contender]] = {
        "tascel": lambda: _ours(lambda request: runner.run(request, watch=steps), "tascel", watch),
        "none": lambda: _ours(lambda request: runner.run(request, plain=True), "none", watch),
        "tasc-paper": lambda: _drafting(runner, "tasc-paper"),
        "transformers": lambda: _stock(runner, {}),
        "prompt-lookup": lambda: _stock(runner, {"prompt_lookup_num_tokens": 10}),
        **{name: partial(_drafting, runner, name) for name in VARIANTS},
    }
    for name in names:
        if name not in known:
            raise RequestError(f"there is no contender {name!r}", f"Choose of {[*known]}")
    return {name: known[name]() for name in names}


def _ours(
    run: Callable[[Request], Generator[Chunk, None, Completion]],
    name: str,
    watch: Watch | None = None,
) -> Contender:
    def answer(request: Request) -> Answer:
        chunks = run(request)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                done: Completion = end.value
                break
            if watch is not None:
                watch(name, chunk)
        stats = done.stats
        return Answer(
            done.tokens,
            stats.prefill_seconds,
            stats.decode_seconds,
            stats.steps,
            stats.accepted,
            done.sources,
            stats.task,
            stats.offered,
        )

    return answer


def _drafting(runner: Runner, name: str) -> Contender:
    """A peer or a variant of ours in our loop; a variant under a breaker, as ours is."""
    if runner.bundle is None:
        raise RequestError(f"{name} drafts from a bundle", "Give one")
    peers = Peers(runner.bundle, chain=not runner.engine.trees)
    draft = peers.make(name, VARIANTS.get(name, {}))
    breaker = Breaker(runner.price) if name in VARIANTS else None
    return _ours(lambda request: runner.run(request, draft=draft, breaker=breaker), name)


class _FirstToken:
    """A streamer that only notes when the first tokens came and how often tokens came."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def put(self, value: object) -> None:
        """Called with the prompt, then after every pass."""
        self.seconds.append(perf_counter())

    def end(self) -> None:
        """Nothing to flush."""


def _stock(runner: Runner, options: dict[str, Any]) -> Contender:
    """transformers' own greedy `generate`."""
    from tascel.engines.hf.batch import asked, greedy

    if options and runner.conditioner is not None:
        raise RequestError(
            "prompt-lookup needs a prompt's ids", "Leave it out: this model is bridged"
        )

    model = in_transformers(runner)

    def answer(request: Request) -> Answer:
        if not request.plain_greedy:
            raise RequestError("stock generate is compared greedily", "Leave out sampling settings")
        passes: list[None] = []

        def count(*_: object) -> None:
            passes.append(None)

        room = runner.engine.context_limit - len(request.prompt)
        hook = model.register_forward_pre_hook(count)
        streamer = _FirstToken()
        settings = {
            "max_new_tokens": min(request.max_tokens, room),
            "eos_token_id": sorted(runner.engine.eos_ids),
            "pad_token_id": runner.codec.end_id,
        }
        started = perf_counter()
        try:
            prompts, end_id = [request.prompt], runner.codec.end_id
            inputs, before = asked(model, prompts, end_id, runner.conditioner)
            with greedy(model, **settings, **options):
                output = model.generate(**inputs, streamer=streamer)
        finally:
            hook.remove()
        seconds = perf_counter() - started
        prefill = streamer.seconds[1] - started
        tokens = tuple(output[0, before:].tolist())
        drafted = {"context": len(tokens) - len(passes)} if options else {}
        return Answer(tokens, prefill, seconds - prefill, len(passes), drafted)

    return answer


def in_transformers(runner: Runner) -> Any:
    """The runner's model, as transformers' own `generate` runs it.

    Raises:
        RequestError: another engine runs it.
    """
    if runner.model is None:
        raise RequestError(
            f"{runner.setting.runtime} runs this model: stock transformers cannot compete",
            "Leave transformers and prompt-lookup out, or use --engine hf",
        )
    return runner.model


def unseen(runner: Runner, answer: Answer) -> bool:
    """Whether an answer does not stand verbatim among the outputs that the bundle learned."""
    if runner.bundle is None:
        return True
    return not runner.bundle.corpus.holds(np.asarray(answer.tokens, np.int32))
