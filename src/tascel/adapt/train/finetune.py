"""Fine-tuning one model on one task's traces, from traces to a folder that loads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tascel.adapt.tokens.mined import read_runs
from tascel.adapt.tokens.rows import INITS, add
from tascel.adapt.train import checkpoints, saving
from tascel.adapt.train import model as training
from tascel.adapt.train.config import METHODS, Evaluation, FinetuneConfig, Progress, Trained
from tascel.adapt.train.course import Course
from tascel.adapt.train.data import Example, examples, split
from tascel.adapt.train.evaluation import Judge
from tascel.adapt.train.tokens import chosen, extended
from tascel.codec import Codec
from tascel.errors import ModelError, TraceError
from tascel.new_tokens import NewTokens
from tascel.types import Trace

_CHECKPOINTS = "checkpoints"
#: The loss reported is the mean of so many last steps.
_LAST = 50


def finetune(
    traces: Iterable[Trace],
    model: str | Path,
    out: Path,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    mined: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    course: Course | None = None,
) -> Trained:
    """Train on the traces of the split `train` or of none; write a model, or an adapter, to `out`.

    `training.json` in it says how it came about. Checkpoints lie in `out/checkpoints` until the
    end; `resume` goes on from the last one. Under `accelerate launch` the processes share each
    step, and the first one writes.

    Args:
        traces: the task's past exchanges; those without an answer are passed over.
        model: Hugging Face id or folder.
        mined: a file of `tascel mine --json` whose new tokens are added, instead of new ones.
        on_evaluation: hears of each evaluated checkpoint.
        course: another way to train than a model as it is.

    Raises:
        ModelError: the model cannot be loaded or has no layers for LoRA, `out` holds the
            checkpoints of another training or the wrong kind of result, or the disk is full.
        TraceError: nothing to learn from.
    """
    import torch
    from accelerate import PartialState  # pyright: ignore[reportMissingTypeStubs]
    from transformers import set_seed

    from tascel.adapt.train.trainer import AnswerTrainer

    config, course = config or FinetuneConfig(), course or Course()
    _check(config)
    course.check(config)
    saving.refuse_mixture(out, config.adapter_only)
    started = time.perf_counter()
    everyone = PartialState(cpu=not torch.accelerator.is_available())
    if not everyone.is_main_process:
        progress, on_evaluation = _nothing, _nothing
    read = _read(traces, model, config, mined, progress)
    folder = out / _CHECKPOINTS
    settings = {
        **asdict(config),
        "model": saving.public_name(model),
        "tokenizer": read.codec.fingerprint,
        "examples": len(read.rows),
        "held_out": len(read.held_out),
        **course.facts,
    }
    begun = checkpoints.begun(folder, settings, resume)
    with everyone.main_process_first():
        every = [*read.rows, *read.held_out]
        course.prepare(every, read.codec, folder, everyone.is_main_process, progress)
    with training.quiet():
        base = course.load(model, config)
        added = add(base, read.new_tokens, config.init)
        set_seed(config.seed)
        tuned = course.learning(base, config, [*read.new_tokens.runs])
        parameters = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
        everyone.wait_for_everyone()  # all have looked for checkpoints
        if everyone.is_main_process:
            checkpoints.prepare(folder, settings, parameters)
        judge = Judge(read.held_out, read.codec, config.batch, course) if read.held_out else None
        trainer = AnswerTrainer(
            tuned, read.rows, judge, folder, config, course, read.codec.end_id, progress,
            on_evaluation,
        )  # fmt: skip
        with training.bf16_flow(tuned):
            trainer.run(begun)
    losses = [e["loss"] for e in trainer.state.log_history if "loss" in e][-_LAST:]
    trained = Trained(
        examples=len(read.rows),
        too_long=read.too_long,
        steps=trainer.state.global_step,
        seconds=round(time.perf_counter() - started, 1),
        loss=round(sum(losses) / len(losses), 4),
        parameters=parameters,
        new_tokens=len(read.new_tokens),
        untied=added.untied,
        best=min(trainer.evaluations, key=lambda e: e.loss, default=None),
        evaluations=trainer.evaluations,
    )
    if everyone.is_main_process:
        saving.save(tuned, model, read.codec, out, config, trained, course)
        checkpoints.remove(folder)
    everyone.wait_for_everyone()
    return trained


@dataclass(frozen=True, slots=True)
class _Read:
    """What there is to learn. `new_tokens` are those that the model does not have yet."""

    codec: Codec
    new_tokens: NewTokens
    rows: list[Example]
    too_long: int
    held_out: list[Example]


def _read(
    traces: Iterable[Trace],
    model: str | Path,
    config: FinetuneConfig,
    mined: Path | None,
    progress: Progress,
) -> _Read:
    codec, new_tokens = Codec.from_pretrained(model), NewTokens()
    progress("reading traces", 0, None)
    train, held = split(traces, config.valid, config.limit, config.seed)
    if (config.new_tokens or mined) and train:
        runs = read_runs(mined, codec) if mined else chosen(codec, model, train, config, progress)
        codec = extended(codec, model, runs)
        new_tokens = codec.new_tokens
    rows, too_long = examples(train, codec, config.max_length)
    if not rows:
        raise TraceError(
            f"no trace to learn from ({too_long} were longer than {config.max_length} tokens)",
            "Give traces with an `output` or an assistant turn, or raise the maximum length",
        )
    return _Read(codec, new_tokens, rows, too_long, examples(held, codec, config.max_length)[0])


def _check(config: FinetuneConfig) -> None:
    if config.method not in METHODS:
        raise ModelError(f"unknown method {config.method}", f"Choose one of {', '.join(METHODS)}")
    if config.init not in INITS:
        raise ModelError(f"unknown init {config.init}", f"Choose one of {', '.join(INITS)}")
    if config.method == "full" and config.adapter_only:
        raise ModelError("full fine-tuning makes no adapter", "Leave out --adapter-only")


def _nothing(*_: object) -> None:
    """What other processes than the first report."""
