"""What a training leaves: a merged model that anything loads, or an adapter. No path in it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tascel.adapt.train.config import FinetuneConfig, Trained
from tascel.adapt.train.course import Course
from tascel.codec import Codec
from tascel.engines.hf.load import BRIDGE, load_model
from tascel.engines.hf.quiet import quietly
from tascel.errors import ModelError

_ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
#: Files of a former result that would be taken for this one's.
_STALE = ("model*.safetensors", "model.safetensors.index.json", *BRIDGE)
_FACTS = "training.json"
_FRESH = ".writing"


def refuse_mixture(out: Path, adapter: bool) -> None:
    """An adapter and a model in one folder: transformers would put the one on the other.

    Raises:
        ModelError: `out` holds the other kind, or is a file.
    """
    other, kind = ("config.json", "a model") if adapter else ("adapter_config.json", "an adapter")
    if out.exists() and not out.is_dir():
        raise ModelError(f"{out} is a file", "Choose another folder")
    if (out / other).exists():
        raise ModelError(f"{out} holds {kind}", "Choose another folder, or remove it yourself")


def save(
    tuned: Any,
    model: str | Path,
    codec: Codec,
    out: Path,
    config: FinetuneConfig,
    trained: Trained,
    course: Course,
) -> None:
    """Write the result to `out`: whole files one by one, `training.json` last.

    A merged model is the base in its own dtype with the saved adapter on it, so both generate the
    same.
    """
    name, writer = public_name(model), course.writer(tuned)

    def fill(folder: Path) -> None:
        if config.method == "full":
            _save_full(writer, model, folder)
        elif config.adapter_only:
            _save_adapter(writer, name, folder)
        else:
            with tempfile.TemporaryDirectory(dir=folder) as adapter:
                _save_adapter(writer, name, Path(adapter))
                merged = load_model(model, adapter, device="cpu")
            save_model(merged, folder)
        if trained.new_tokens or not config.adapter_only:
            codec.save(folder)
        course.write(tuned, folder, out)
        facts = {
            "base_model": name,
            "settings": asdict(config),
            **course.facts,
            **asdict(trained),
            "versions": {p: version(p) for p in ("tascel", "torch", "transformers", "peft")},
        }
        (folder / _FACTS).write_text(json.dumps(facts, indent=2) + "\n")

    try:
        _put(out, fill)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{out}: the result cannot be written ({error})",
            "Free some disk space and say --resume: the training itself is done",
        ) from error


def public_name(model: str | Path) -> str:
    """A Hugging Face id stays; of a folder only its own name: its path is nobody's business."""
    return Path(model).resolve().name if Path(model).exists() else str(model)


def _put(out: Path, fill: Callable[[Path], None]) -> None:
    fresh = out / _FRESH
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed here
    fresh.mkdir()
    try:
        fill(fresh)
        names = sorted((p.name for p in fresh.iterdir()), key=lambda name: name == _FACTS)
        for stale in (path for pattern in _STALE for path in out.glob(pattern)):
            if stale.name not in names:
                stale.unlink()
        for file in names:
            # Some writers leave their files to the owner alone, whatever the umask says.
            shutil.copymode(fresh / _FACTS, fresh / file)
            os.replace(fresh / file, out / file)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _save_adapter(tuned: Any, name: str, folder: Path) -> None:
    import torch

    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    tuned.peft_config["default"].base_model_name_or_path = name
    # New rows are in the adapter, and without this PEFT would look the base model up.
    tuned.save_pretrained(folder, save_embedding_layers=False)
    for file in set(folder.iterdir()) - {folder / file for file in _ADAPTER}:
        file.unlink()  # a model card without content


def _save_full(tuned: Any, model: str | Path, folder: Path) -> None:
    """In the base's own dtype, which training in float32 left aside."""
    import torch
    from transformers import AutoConfig

    auto: Any = AutoConfig
    dtype = getattr(auto.from_pretrained(str(model)), "dtype", None) or torch.float32
    save_model(tuned.to(dtype), folder)


def save_model(model: Any, folder: Path) -> None:
    """Write weights and configuration as any library reads them, without a local path."""
    model.config._name_or_path = ""
    with quietly():
        model.save_pretrained(folder)
