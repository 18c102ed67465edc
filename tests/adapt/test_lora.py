"""Fine-tuning: learns, resumes, writes an adapter that loads and names no path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tascel.adapt.train import lora
from tascel.adapt.train.data import collate, examples
from tascel.adapt.train.lora import FinetuneConfig, finetune
from tascel.codec import Codec
from tascel.engines.hf.load import load_model
from tascel.errors import ModelError, TraceError
from tascel.types import Trace

TRACES = [
    Trace(
        messages=({"role": "user", "content": f"say {word}"},),
        answer={"role": "assistant", "content": word * 2},
    )
    for word in ("in", "on", "the", "lin", "thin", "then", "lion", "tin")
] * 2
CONFIG = FinetuneConfig(rank=4, alpha=8, batch=4, steps=6, learning_rate=0.02)


def loss(model: Any, folder: Path) -> float:
    rows, _ = examples(TRACES, Codec.from_pretrained(folder), 1024)
    batch = collate(rows, pad_id=0)
    labels = batch.pop("labels")
    with torch.inference_mode():
        logits = model(**batch, logits_to_keep=labels.shape[1]).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten()
    ).item()


def test_training_learns_and_leaves_an_adapter_that_loads(toy_folder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    trained = finetune(
        TRACES, toy_folder, tmp_path / "a", CONFIG, progress=lambda *at: told.append(at)
    )
    assert (trained.examples, trained.too_long, trained.steps) == (16, 0, 6)
    assert told[-1] == ("training", 6, 6)
    names = {p.name for p in (tmp_path / "a").iterdir()}
    assert names == {"adapter_model.safetensors", "adapter_config.json", "training.json"}
    before = loss(load_model(toy_folder, dtype="float32"), toy_folder)
    after = loss(load_model(toy_folder, tmp_path / "a", dtype="float32"), toy_folder)
    assert after < 0.8 * before
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    assert len(weights) == 2 * 2 * 7


def test_nothing_written_names_a_local_path(toy_folder: Path, tmp_path: Path) -> None:
    finetune(TRACES, toy_folder, tmp_path / "a", FinetuneConfig(steps=1, batch=2))
    for file in ("adapter_config.json", "training.json"):
        text = (tmp_path / "a" / file).read_text()
        assert str(tmp_path) not in text
        assert str(toy_folder.parent) not in text
    facts = json.loads((tmp_path / "a" / "training.json").read_text())
    assert facts["base_model"] == toy_folder.name
    assert facts["settings"]["steps"] == 1
    assert {"torch", "peft", "transformers", "tascel"} == set(facts["versions"])


def test_an_interrupted_training_goes_on_to_the_same_adapter(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora, "_SAVE_EVERY", 3)
    finetune(TRACES, toy_folder, tmp_path / "whole", CONFIG)

    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(TRACES, toy_folder, tmp_path / "part", CONFIG, progress=stop)
    with pytest.raises(ModelError, match=r"unfinished training.*--resume"):
        finetune(TRACES, toy_folder, tmp_path / "part", CONFIG)
    other = FinetuneConfig(rank=2, batch=4, steps=6)
    with pytest.raises(ModelError, match="other settings"):
        finetune(TRACES, toy_folder, tmp_path / "part", other, resume=True)
    told: list[int] = []
    finetune(
        TRACES,
        toy_folder,
        tmp_path / "part",
        CONFIG,
        resume=True,
        progress=lambda stage, done, total: told.append(done) if stage == "training" else None,
    )
    assert told == [4, 5, 6]
    one, other_ = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "part")
    )
    assert all(torch.equal(one[key], other_[key]) for key in one)


def test_nothing_to_learn_and_no_model_are_named(toy_folder: Path, tmp_path: Path) -> None:
    prompt_only = [Trace(messages=({"role": "user", "content": "a"},))]
    with pytest.raises(TraceError, match="no trace to learn from"):
        finetune(prompt_only, toy_folder, tmp_path / "a")
    with pytest.raises(ModelError):
        finetune(TRACES, tmp_path / "nothing", tmp_path / "a")
    assert not (tmp_path / "a").exists()
