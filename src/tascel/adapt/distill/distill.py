"""Neural drafts for a bundle's tasks: trained, judged beside n-grams, and stored where they win."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from tascel.adapt.distill.config import DistillConfig, Distilled, Progress, Target, TaskResult
from tascel.adapt.distill.judge import counted, hits
from tascel.adapt.distill.lessons import Lesson, lessons
from tascel.adapt.distill.training import Trained, cut, train
from tascel.adapt.distill.ways import Judge, Ngrams, Way
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.draft.confidence import Confidence
from tascel.errors import BundleError, ModelError
from tascel.filling import put_neural
from tascel.neural import Choice, Neural, TaskChoices
from tascel.route.policy import Policy
from tascel.types import Trace

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def distill(
    bundle: str | Path,
    traces: Iterable[Trace],
    codec: Codec,
    target: Target,
    config: DistillConfig | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Distilled:
    """Train drafts of several depths on the model's own answers to the prompts of `traces`: one for
    all tasks of the bundle, and one for each. What brings a task's held-out answers soonest, the
    drafts' own passes included, serves it from now on: that is n-grams, unless another is better
    by the factor that `Policy` asks for. The bundle then holds what is needed.

    Raises:
        BundleError: no bundle, a damaged one, one of another tokenizer, or of other tasks than when
            it was begun; or it cannot be written.
        ModelError: the model has not so many layers, or keeps them in no list.
        TraceError: too few traces.
    """
    config = config or DistillConfig()
    opened = Bundle.open(bundle, codec)
    _check(target, config)
    learned = lessons(traces, opened, codec, target, config, progress)
    with TemporaryDirectory(prefix="tascel-distill-") as folder:
        trained = train(learned, target, codec, config, Path(folder), progress)
        ngrams = Ngrams(opened, codec, learned)
        confidences = _confidences(learned, trained, target, progress)
        judge = Judge(ngrams, trained, confidences, target, progress)
        judged = [judge.ways(lesson) for lesson in learned]
        results = [
            _result(lesson, ways, target, config)
            for lesson, ways in zip(learned, judged, strict=True)
        ]
        neural, kept = _kept(learned, judged, results, trained, confidences, target)
        stored = bool(neural.drafts)
        if stored or opened.neural is not None:
            _same_tasks(Bundle.open(bundle, codec), opened)
            put_neural(bundle, neural, [trained[at].folder for at in kept], codec)
    return Distilled([one.made for one in trained], results, stored)


def _check(target: Target, config: DistillConfig) -> None:
    from tascel.engines.hf.layers import stack_of

    model = cast("PreTrainedModel", target.model)
    stack_of(model)
    count: int = cast(Any, model.config).get_text_config().num_hidden_layers
    if not config.layers or not all(1 <= layers < count for layers in config.layers):
        raise ModelError(
            f"no draft can have {', '.join(map(str, config.layers))} of {count} layers",
            f"Choose from 1 to {count - 1}",
        )


def _same_tasks(now: Bundle, then: Bundle) -> None:
    if [task.name for task in now.tasks] != [task.name for task in then.tasks]:
        raise BundleError(f"{now.path}: was built anew meanwhile, of other tasks", "Distil again")


def _confidences(
    learned: Sequence[Lesson], trained: Sequence[Trained], target: Target, progress: Progress
) -> list[Confidence]:
    """How far to believe each draft: by the held-out answers of what it is for."""
    found: list[Confidence] = []
    for done, draft in enumerate(trained):
        progress("counting", done, len(trained))
        pairs = [p for lesson in learned if draft.serves(lesson) for p in lesson.counted]
        model = cut(target, draft.made.layers, draft.folder)
        found.append(counted(hits(model, pairs, target.engine.vocab_size)))
    progress("counting", len(trained), len(trained))
    return found


def _result(
    lesson: Lesson, ways: Sequence[Way], target: Target, config: DistillConfig
) -> TaskResult:
    """Who serves a task, by the very rule that will choose when it is served."""
    plain, *drafting = ways
    best = drafting[Policy([way.score.tally for way in drafting]).choose(target.price)]
    worth = best.score.tally.rate(target.price) > plain.score.tally.rate(target.price)
    chosen = best if worth else plain
    return TaskResult(
        lesson.task,
        len(lesson.train),
        len(lesson.judged),
        [
            way.score.judged(
                way.name,
                target.price,
                fixed=way.fixed,
                kept=way is chosen or (config.keep_all and way.draft is not None),
            )
            for way in ways
        ],
        chosen.name,
    )


def _kept(
    learned: Sequence[Lesson],
    judged: Sequence[Sequence[Way]],
    results: Sequence[TaskResult],
    trained: Sequence[Trained],
    confidences: Sequence[Confidence],
    target: Target,
) -> tuple[Neural, list[int]]:
    """What the bundle will hold, and which of the trained drafts these are."""
    kept: list[int] = []
    tasks: list[TaskChoices] = []
    for lesson, ways, result in zip(learned, judged, results, strict=True):
        choices: list[Choice] = []
        for way, told in zip(ways, result.ways, strict=True):
            if told.kept and way.draft is not None:
                choices.append(Choice(way.draft, way.extended, way.score.tally))
                kept += [way.draft] * (way.draft not in kept)
        if choices:
            counts = [way.score.tally for way in ways[1:] if way.draft is None]
            tasks.append(TaskChoices(lesson.task, counts, choices))
    place = {at: new for new, at in enumerate(kept)}
    tasks = [
        replace(task, choices=[replace(c, draft=place[c.draft]) for c in task.choices])
        for task in tasks
    ]
    drafts = [trained[at].stored(confidences[at]) for at in kept]
    return Neural(target.weights, drafts, tasks), kept
