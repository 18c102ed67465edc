"""transformers' Trainer with our loss, our order of batches, our evaluation and our checkpoints."""
# Half of Trainer's types are unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from tascel.adapt.train import checkpoints
from tascel.adapt.train.config import Evaluation, FinetuneConfig, Progress
from tascel.adapt.train.course import Course
from tascel.adapt.train.data import Example, SimilarLengths
from tascel.adapt.train.evaluation import Judge
from tascel.adapt.train.model import answer_loss
from tascel.errors import ModelError

_WEIGHTS = "learned.safetensors"


class AnswerTrainer(Trainer):
    """Learns answers only, and keeps only what learns: the checkpoints are small for an adapter.

    Args:
        tuned: the model; its parameters that require gradients learn.
        rows: the training examples.
        judge: what evaluates checkpoints; None keeps the last.
        folder: the checkpoints' folder.
        course: how batches are fed, and who learns faster.
        pad_id: what fills batches up.
        progress: hears ("training", tokens read, tokens in all).
        on_evaluation: hears of each evaluated checkpoint.
    """

    def __init__(
        self,
        tuned: Any,
        rows: Sequence[Example],
        judge: Judge | None,
        folder: Path,
        config: FinetuneConfig,
        course: Course,
        pad_id: int,
        progress: Progress,
        on_evaluation: Callable[[Evaluation], None],
    ) -> None:
        self._rows, self._judge, self._folder, self._config = rows, judge, folder, config
        self._course = course
        self.progress, self._on_evaluation = progress, on_evaluation
        self.tokens = 0
        callbacks: list[TrainerCallback] = [_Report(self)]
        if judge is not None:
            callbacks.append(EarlyStoppingCallback(config.patience))
        super().__init__(
            model=tuned,
            args=_arguments(config, folder, judge is not None),
            train_dataset=cast(Any, rows),
            eval_dataset=cast(Any, None if judge is None else judge.rows),
            data_collator=partial(course.collate, pad_id=pad_id),
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)

    @property
    def all_tokens(self) -> int:
        """What all steps will read, estimated from the mean length."""
        mean = sum(len(row["input_ids"]) for row in self._rows) / len(self._rows)
        return round(self.state.max_steps * self.examples_a_step * mean)

    @property
    def examples_a_step(self) -> int:
        """Over all processes."""
        return min(self._config.batch * self.args.world_size, len(self._rows))

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """All so far, those before an interruption included."""
        return tuple(
            Evaluation(
                int(e["step"]),
                e["eval_loss"],
                e["eval_nats"],
                int(e["eval_exact"]),
                int(e["eval_tried"]),
            )
            for e in self.state.log_history
            if "eval_loss" in e
        )

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's, but some parameters learn at a rate of their own."""
        if self.optimizer is None:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args)
            by_rate: defaultdict[float, list[Any]] = defaultdict(list)
            for name, parameter in self._learned():
                by_rate[self._course.rate(name, self._config)].append(parameter)
            groups = [
                {"params": parameters, "lr": rate * self._config.learning_rate}
                for rate, parameters in sorted(by_rate.items())
            ]
            self.optimizer = kind(groups, **settings)
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Of the answers."""
        self.tokens += int(inputs["attention_mask"].sum()) * self.args.world_size
        return answer_loss(model, inputs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Loss and exact answers of all processes' shares together."""
        assert self._judge is not None
        share = self._judge(self.model, self.args.process_index, self.args.world_size)
        device = self.accelerator.device
        sums: Any = self.accelerator.reduce(torch.tensor(share, device=device), "sum")
        nats, tokens, exact, tried = sums.tolist()
        metrics = {
            "eval_loss": nats / tokens,
            "eval_nats": nats / len(self._judge.rows),
            "eval_exact": exact,
            "eval_tried": tried,
        }
        self.log(metrics)
        self._on_evaluation(self.evaluations[-1])
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def run(self, begun: Path | None) -> None:
        """Train to the end, from the checkpoint `begun` on if there is one."""
        if begun is None:
            self.train()
        elif checkpoints.is_finished(begun):
            self.state = self.state.load_from_json(str(begun / "trainer_state.json"))
            self._load_from_checkpoint(str(begun))
            if self.state.best_global_step:
                self._load_best_model()
        else:
            self.train(str(begun))

    # What Trainer does with files.

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SimilarLengths(self._rows, self._config.batch, self._config.seed)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: p.detach().contiguous() for name, p in self._learned()}, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        saved = load_file(Path(resume_from_checkpoint) / _WEIGHTS)
        with torch.no_grad():
            for name, parameter in self._learned():
                parameter.copy_(saved[name])

    def _load_best_model(self) -> None:
        best = self.state.best_global_step
        assert best is not None
        self._load_from_checkpoint(str(checkpoints.at(self._folder, best)))

    def _learned(self) -> list[tuple[str, Any]]:
        model: Any = self.model
        return [(name, p) for name, p in model.named_parameters() if p.requires_grad]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        checkpoint = checkpoints.at(self._folder, step)
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.complete(checkpoint, self.control.should_training_stop)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{checkpoint} cannot be written ({' '.join(str(error).split())[:200]}); those "
                "before it are whole",
                "Free some disk space and go on with --resume",
            ) from error
        if self.args.should_save:
            checkpoints.keep_only(self._folder, {step, self.state.best_global_step or step})


class _Report(TrainerCallback):
    """Passes on how far it is, in tokens, so that the rate and the time left are right."""

    def __init__(self, trainer: AnswerTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        done = state.global_step / max(1, state.max_steps)
        self._trainer.tokens = round(done * self._trainer.all_tokens)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        in_all = self._trainer.all_tokens
        ended = state.global_step >= state.max_steps
        tokens = in_all if ended else min(self._trainer.tokens, in_all)
        self._trainer.progress("training", tokens, in_all)


def _arguments(config: FinetuneConfig, folder: Path, judged: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch,
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        bf16=True,
        use_cpu=not torch.accelerator.is_available(),
        eval_strategy="steps" if judged else "no",
        eval_steps=config.evaluate_every,
        save_steps=config.evaluate_every,
        load_best_model_at_end=judged,
        metric_for_best_model="eval_loss" if judged else None,
        greater_is_better=False if judged else None,
        restore_callback_states_from_checkpoint=True,
        ddp_find_unused_parameters=False,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=config.seed,
    )
