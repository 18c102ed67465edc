"""What drafts learn from and are judged on: by task, the model's own answers to traces' prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from tascel.adapt.distill.config import DistillConfig, Progress, Target
from tascel.adapt.train.data import Example, split
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.loop import Loop
from tascel.decode.schedule import Scheduler
from tascel.draft.base import Draft
from tascel.draft.breaker import Breaker
from tascel.draft.ngram import DraftConfig
from tascel.errors import RequestError, TraceError
from tascel.types import Ids, Request, Trace


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A prompt i32[n] and its answer i32[m], closed by its end id."""

    prompt: Ids
    output: Ids

    @property
    def example(self) -> Example:
        """As a training sequence."""
        ids = [*self.prompt.tolist(), *self.output.tolist()]
        return {"input_ids": ids, "answer": len(self.output)}


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """One task's answers, None if all are one.

    Attributes:
        known: what n-grams are learned from when drafts are judged: nothing that is held out.
        train: those of it that neural drafts learn from.
        judged: held out, to compare drafts on.
        counted: held out, to count on how far a draft's probabilities can be believed.
    """

    task: str | None
    known: Sequence[Pair]
    train: Sequence[Pair]
    judged: Sequence[Pair]
    counted: Sequence[Pair]


def lessons(
    traces: Iterable[Trace],
    bundle: Bundle,
    codec: Codec,
    target: Target,
    config: DistillConfig,
    progress: Progress,
) -> list[Lesson]:
    """Read the traces, and answer what is learned from or judged, unless they are answers already.

    Held out is the split `valid` if there is one, else a fold of the others that no similar trace
    is left in. Prompts that are like no task of the bundle are left out.

    Raises:
        TraceError: nothing to learn from, or too few traces to hold some out.
    """
    by_task = _by_task(traces, bundle, codec, config, progress)
    made = [_lesson(task, found, codec, config) for task, found in by_task.items()]
    made = [lesson for lesson in made if lesson.train and lesson.judged and lesson.counted]
    if not made:
        raise TraceError(
            f"too few traces to distil from: {sum(map(len, by_task.values()))} of "
            f"{len(by_task)} tasks",
            "Give 100 or more of a task, with answers, or some of the split `valid`",
        )
    if config.traces_are_outputs:
        return made
    return _answered(made, bundle, codec, target, config, progress)


def _by_task(
    traces: Iterable[Trace],
    bundle: Bundle,
    codec: Codec,
    config: DistillConfig,
    progress: Progress,
) -> dict[str | None, list[Trace]]:
    """The traces by the task that a request like them would be served as; None is the only one."""
    progress("reading traces", 0, None)
    found: dict[str | None, list[Trace]] = {task.name: [] for task in bundle.tasks} or {None: []}
    for at, trace in enumerate(traces, 1):
        if trace.answer is not None and trace.split in (None, "train", "valid"):
            prompt = codec.prompt(trace.messages, trace.tools)
            task = _task_of(trace, prompt, bundle)
            if task in found and len(prompt) + config.max_tokens <= config.max_length:
                found[task].append(trace)
        progress("reading traces", at, None)
    return found


def _task_of(trace: Trace, prompt: Ids, bundle: Bundle) -> str | None:
    names = [task.name for task in bundle.tasks]
    if bundle.classifier is None:
        return None
    if trace.task in names:
        return trace.task
    guess = bundle.classifier.classify(bundle.reader.about(prompt))
    return names[guess.task] if guess.sure else ""


def _lesson(
    task: str | None, traces: Sequence[Trace], codec: Codec, config: DistillConfig
) -> Lesson:
    learned, held = split(traces, 2 * config.tried, seed=config.seed)
    known, drawn = _pairs(learned, codec, config), _pairs(held, codec, config)
    train = Random(config.seed).sample(known, min(config.limit, len(known)))
    half = -(-len(drawn) // 2)
    return Lesson(task, known, train, drawn[:half], drawn[half:])


def _pairs(traces: Sequence[Trace], codec: Codec, config: DistillConfig) -> list[Pair]:
    return [
        Pair(codec.prompt(trace.messages, trace.tools), output[: config.max_tokens])
        for trace, output in codec.answers(traces)
    ]


def _answered(
    made: Sequence[Lesson],
    bundle: Bundle,
    codec: Codec,
    target: Target,
    config: DistillConfig,
    progress: Progress,
) -> list[Lesson]:
    """The lessons with the model's own answers."""
    asked = [pair for one in made for pair in (*one.train, *one.judged, *one.counted)]
    outputs = answers(
        [pair.prompt for pair in asked], bundle.draft(DraftConfig(neural_bytes=0)), codec, target,
        config, progress,
    )  # fmt: skip
    own = {
        id(pair): Pair(pair.prompt, output)
        for pair, output in zip(asked, outputs, strict=True)
        if output is not None and len(output)
    }

    def replaced(pairs: Sequence[Pair]) -> list[Pair]:
        return [own[id(pair)] for pair in pairs if id(pair) in own]

    return [
        replace(
            one,
            known=[own.get(id(pair), pair) for pair in one.known],
            train=replaced(one.train),
            judged=replaced(one.judged),
            counted=replaced(one.counted),
        )
        for one in made
    ]


def answers(
    prompts: Sequence[Ids],
    draft: Draft | None,
    codec: Codec,
    target: Target,
    config: DistillConfig,
    progress: Progress,
) -> list[Ids | None]:
    """The model's greedy answers, in batches and with drafts; None for a prompt that has no room.
    The draft changes none of them."""
    import numpy as np

    loop = Loop(target.engine, draft, target.price, Breaker(target.price))
    scheduler = Scheduler(loop, codec.stream, config.rows)
    found: list[Ids | None] = [None] * len(prompts)
    waiting = iter(enumerate(prompts))
    done = 0
    while True:
        while scheduler.waiting < config.rows and (ask := next(waiting, None)) is not None:
            try:
                scheduler.add(Request(str(ask[0]), ask[1], max_tokens=config.max_tokens))
            except RequestError:
                done += 1
        if not scheduler.waiting and not scheduler.running:
            return found
        for event in scheduler.step():
            if event.error is not None:
                raise event.error
            if event.completion is not None:
                found[int(event.request.id)] = np.array(event.completion.tokens, np.int32)
                done += 1
        progress("answering", done, len(prompts))
