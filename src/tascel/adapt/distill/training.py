"""Training drafts: of each depth one for all tasks, and one for each task that goes on from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tascel.adapt.distill.config import DistillConfig, Made, Progress, Target
from tascel.adapt.distill.lessons import Lesson
from tascel.adapt.distill.pupil import Pupil
from tascel.codec import Codec
from tascel.draft.confidence import Confidence
from tascel.draft.price import Points
from tascel.neural import CutDraft

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tascel.engines.hf.draft_model import NeuralDraft


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A draft whose adapter lies in `folder`: for one `task`, or the `generic` one for all."""

    generic: bool
    task: str | None
    folder: Path
    made: Made
    points: Points

    def serves(self, lesson: Lesson) -> bool:
        """Whether it may draft for a task."""
        return self.generic or self.task == lesson.task

    def stored(self, confidence: Confidence) -> CutDraft:
        """As a bundle keeps it."""
        name = self.made.name if self.generic else f"{self.task}-{self.made.layers}"
        return CutDraft(name, self.made.layers, self.points, confidence)


def train(
    learned: Sequence[Lesson],
    target: Target,
    codec: Codec,
    config: DistillConfig,
    folder: Path,
    progress: Progress,
) -> list[Trained]:
    """Of each depth a draft for all tasks and, where there are several, one for each, which goes on
    from there."""
    model = cast("PreTrainedModel", target.model)
    own = learned if len(learned) > 1 else ()
    half = max(1, config.steps // 2)
    total = len(config.layers) * (config.steps + len(own) * half)
    done = 0
    found: list[Trained] = []
    for layers in config.layers:
        pupil = Pupil(model, layers, codec.end_id, config)
        points: Points = {}

        def learn(
            task: Lesson | None, steps: int, rate: float, at: int = layers, pupil: Pupil = pupil
        ) -> None:
            nonlocal done, points
            pairs = task.train if task else [pair for lesson in learned for pair in lesson.train]
            started, before = time.perf_counter(), done
            rows = [pair.example for pair in pairs]
            loss = pupil.learn(
                rows, steps, rate, lambda step: progress("training", before + step, total)
            )
            done += steps
            place = folder / f"{len(found):03}"
            pupil.save(place)
            points = points or _points(cut(target, at, place), target)
            seconds = time.perf_counter() - started
            name = f"{'own' if task else 'generic'}-{at}"
            made = Made(name, at, len(pairs), round(loss, 4), round(seconds, 1), points[1][1])
            found.append(Trained(task is None, task.task if task else None, place, made, points))

        learn(None, config.steps, config.learning_rate)
        begun = pupil.state()
        for lesson in own:
            pupil.restore(begun)
            learn(lesson, half, config.learning_rate / 2)
    return found


def cut(target: Target, layers: int, adapter: Path) -> PreTrainedModel:
    """The target's first layers with an adapter's changes."""
    from tascel.engines.hf.layers import keep_layers, with_changes

    return with_changes(keep_layers(cast("PreTrainedModel", target.model), range(layers)), adapter)


def _points(model: PreTrainedModel, target: Target) -> Points:
    """What a draft's passes cost here, in passes of one token of the target."""
    from tascel.engines.hf.engine import HfEngine
    from tascel.engines.profile import measure_all

    plain = target.price.plain()
    return {
        rows: {tokens: ms / plain for tokens, ms in by_tokens.items()}
        for rows, by_tokens in measure_all(HfEngine(model)).items()
    }


def draft(trained: Trained, confidence: Confidence, target: Target) -> NeuralDraft:
    """A trained draft, ready to draft."""
    from tascel.engines.hf.draft_model import NeuralDraft

    model = cut(target, trained.made.layers, trained.folder)
    price = trained.stored(confidence).price(target.price)
    return NeuralDraft(model, price, confidence, vocab_size=target.engine.vocab_size)
