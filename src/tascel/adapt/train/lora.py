"""LoRA fine-tuning of one model on one task's traces: plain PEFT, transformers' Trainer."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tascel.adapt.train.data import IGNORED, SimilarLengths, collate, examples
from tascel.codec import Codec
from tascel.engines.hf.load import load_model
from tascel.errors import ModelError
from tascel.types import Trace

#: Told (stage, done, total).
Progress = Callable[[str, int, int | None], None]

_CHECKPOINTS = "checkpoints"
_SAVE_EVERY = 100
#: The loss reported is the mean of so many last steps.
_LAST = 50


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How to fine-tune. With `steps` training stops there, whatever `epochs` says.

    `alpha` scales the adapter by alpha / rank (LoRA, Hu et al. 2021, section 4.1). `max_length` is
    in tokens, prompt and answer together; longer traces are left out.
    """

    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    batch: int = 16
    epochs: float = 1.0
    steps: int | None = None
    limit: int | None = None
    max_length: int = 1024
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out. `loss` is nats a token over the last steps; `too_long` were left out."""

    examples: int
    too_long: int
    steps: int
    seconds: float
    loss: float


def finetune(
    traces: Iterable[Trace],
    model: str | Path,
    out: Path,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Trained:
    """Train a LoRA adapter on all linear layers; write it to `out` as bf16 PEFT.

    `training.json` beside it says how it came about. Checkpoints lie in `out/checkpoints` until
    the end; `resume` goes on from the last one.

    Args:
        traces: the task's past exchanges; those without an answer are passed over.
        model: Hugging Face id or folder.

    Raises:
        ModelError: the model cannot be loaded or has no layers for LoRA, or `out` holds the
            checkpoints of another training.
        TraceError: nothing to learn from.
    """
    config = config or FinetuneConfig()
    codec = Codec.from_pretrained(model)
    progress("reading traces", 0, None)
    rows, too_long = examples(traces, codec, config.max_length, config.limit)
    begun = _checkpoints(out, {**asdict(config), "examples": len(rows)}, resume)
    started = time.perf_counter()
    with _quiet():
        tuned = _with_lora(model, config)
        trainer = _trainer(tuned, rows, codec.end_id, out, config, progress)
        with _bf16_flow(tuned):
            trainer.train(resume_from_checkpoint=begun)
    losses = [e["loss"] for e in trainer.state.log_history if "loss" in e][-_LAST:]
    trained = Trained(
        examples=len(rows),
        too_long=too_long,
        steps=trainer.state.global_step,
        seconds=round(time.perf_counter() - started, 1),
        loss=round(sum(losses) / len(losses), 4),
    )
    _save(tuned, out, _public_name(model), config, trained)
    shutil.rmtree(out / _CHECKPOINTS)
    return trained


def _checkpoints(out: Path, settings: dict[str, Any], resume: bool) -> bool:
    """Make the checkpoints' folder; True if there is something to go on from."""
    folder, note = out / _CHECKPOINTS, out / _CHECKPOINTS / "settings.json"
    begun = any(folder.glob("checkpoint-*"))
    if begun and not resume:
        raise ModelError(
            f"{folder} holds an unfinished training",
            "Go on from it with --resume, or remove that folder",
        )
    if begun and (not note.exists() or json.loads(note.read_text()) != settings):
        raise ModelError(
            f"{folder} is from a training with other settings or traces",
            "Repeat those, or remove that folder",
        )
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(settings))
    return begun


def _with_lora(model: str | Path, config: FinetuneConfig) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    base: Any = load_model(model, dtype="bfloat16")
    set_seed(config.seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        tuned: Any = get_peft_model(base, lora)
    except ValueError as error:
        raise ModelError(f"{model} has no layers that LoRA can be added to ({error})") from error
    base.get_output_embeddings().register_forward_pre_hook(_contiguous)
    return tuned


def _contiguous(_: Any, args: tuple[Any]) -> tuple[Any]:
    """A head that is given a slice of columns would copy its weights for every row of the batch."""
    return (args[0].contiguous(),)


def _trainer(
    tuned: Any, rows: Any, pad_id: int, out: Path, config: FinetuneConfig, progress: Progress
) -> Any:
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    class AnswerTrainer(Trainer):
        """Asks the model for the logits of the answers' columns only."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any
        ) -> Any:
            labels = inputs.pop("labels")
            logits = model(**inputs, logits_to_keep=labels.shape[1], use_cache=False).logits
            return cross_entropy(
                logits[:, :-1].float().flatten(0, 1),
                labels[:, 1:].flatten(),
                ignore_index=IGNORED,
            )

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SimilarLengths(rows, config.batch, config.seed)

    class Report(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress("training", state.global_step, state.max_steps)

    arguments = TrainingArguments(
        output_dir=str(out / _CHECKPOINTS),
        per_device_train_batch_size=config.batch,
        num_train_epochs=config.epochs,
        max_steps=config.steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        bf16=True,
        use_cpu=not torch.accelerator.is_available(),
        save_steps=_SAVE_EVERY,
        save_total_limit=1,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=config.seed,
    )
    trainer = AnswerTrainer(
        model=tuned,
        args=arguments,
        train_dataset=rows,
        data_collator=partial(collate, pad_id=pad_id),
        callbacks=[Report()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextmanager
def _bf16_flow(tuned: Any) -> Generator[None]:
    """The adapter's weights are float32 for the optimiser; everything that flows stays bfloat16."""
    from peft.helpers import disable_input_dtype_casting

    with disable_input_dtype_casting(tuned):
        yield


@contextmanager
def _quiet() -> Generator[None]:
    """Without the libraries' notes to one another on what will be renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _public_name(model: str | Path) -> str:
    """A Hugging Face id stays; of a folder only its own name: its path is nobody's business."""
    return Path(model).resolve().name if Path(model).exists() else str(model)


def _save(tuned: Any, out: Path, name: str, config: FinetuneConfig, trained: Trained) -> None:
    import torch

    facts = {
        "base_model": name,
        "settings": asdict(config),
        **asdict(trained),
        "versions": {p: version(p) for p in ("tascel", "torch", "transformers", "peft")},
    }
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    tuned.peft_config["default"].base_model_name_or_path = name
    with tempfile.TemporaryDirectory(dir=out) as fresh:
        # The vocabulary did not change, and without this PEFT would look the base model up.
        tuned.save_pretrained(fresh, save_embedding_layers=False)
        (Path(fresh) / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
        for file in ("adapter_model.safetensors", "adapter_config.json", "training.json"):
            os.replace(Path(fresh) / file, out / file)
