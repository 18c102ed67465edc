"""Training a bridge: the states are kept, meet the prompts alone, and what is learned loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tascel
from tascel.adapt.bridge import states
from tascel.adapt.bridge.config import BridgeConfig
from tascel.adapt.bridge.course import BridgeCourse
from tascel.adapt.bridge.states import KeptStates, keep
from tascel.adapt.bridge.train import train_bridge
from tascel.adapt.train.config import FinetuneConfig
from tascel.adapt.train.data import examples
from tascel.adapt.train.model import answer_loss
from tascel.codec import Codec
from tascel.engines.hf.bridge.reader import Reader
from tascel.engines.hf.load import load_model
from tascel.errors import ModelError
from tascel.types import Trace

TRACES = [
    Trace(
        messages=({"role": "user", "content": f"say {word}"},),
        answer={"role": "assistant", "content": word * 2},
    )
    for word in ("in", "on", "the", "lin", "thin", "then", "lion", "tin")
] * 2
VALID = [replace(trace, split="valid") for trace in TRACES[:8]]
FULL = FinetuneConfig(method="full", batch=4, steps=6, learning_rate=0.002, evaluate_every=3)


@pytest.fixture(scope="module")
def large(toy: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy of three layers, wider than the writer, with the same tokenizer."""
    folder = tmp_path_factory.mktemp("large")
    toy("Qwen2", seed=3, hidden_size=48, num_hidden_layers=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def codec(toy_folder: Path) -> Codec:
    return Codec.from_pretrained(toy_folder)


def prompts(codec: Codec) -> list[np.ndarray]:
    return [codec.prompt(trace.messages) for trace in TRACES]


def test_states_are_what_the_reader_says(large: Path, codec: Codec, tmp_path: Path) -> None:
    config = BridgeConfig(large)
    told: list[tuple[str, int, int | None]] = []
    keep(tmp_path / "s", prompts(codec), codec, config, lambda *at: told.append(at))
    assert told[-1] == ("reading prompts", 8, 8)  # each once
    kept = KeptStates(tmp_path / "s", prompts(codec), config)
    reader = Reader.load(large)
    assert (kept.source.layer, kept.source.width) == (reader.layer, reader.width) == (2, 48)
    assert kept.source.weights == reader.weights
    for prompt in prompts(codec):
        ((wanted, covered),) = reader.read([prompt], codec)
        found = kept(prompt)
        assert torch.equal(found.covered, covered)
        assert torch.allclose(found.states.float(), wanted.float(), rtol=0.02, atol=0.02)


def test_a_reading_that_was_cut_short_goes_on(
    large: Path, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BridgeConfig(large)
    monkeypatch.setattr(states, "_BATCH", 2)
    monkeypatch.setattr(states, "_NOTED", 1)
    keep(tmp_path / "whole", prompts(codec), codec, config)

    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path / "part", prompts(codec), codec, config, stop)
    with pytest.raises(ModelError, match="holds no states of these prompts"):
        KeptStates(tmp_path / "part", prompts(codec), config)
    read: list[int] = []
    keep(tmp_path / "part", prompts(codec), codec, config, lambda _, done, __: read.append(done))
    assert read == [6, 8]
    keep(tmp_path / "part", prompts(codec), codec, config, lambda _, done, __: read.append(done))
    assert read == [6, 8]  # nothing is left to read
    whole, part = (
        KeptStates(tmp_path / name, prompts(codec), config) for name in ("whole", "part")
    )
    for prompt in prompts(codec):
        assert torch.equal(whole(prompt).states, part(prompt).states)


@pytest.mark.parametrize("change", ["layer", "model", "prompts"])
def test_states_of_something_else_are_read_anew(
    large: Path, codec: Codec, tmp_path: Path, toy_folder: Path, change: str
) -> None:
    config, asked = BridgeConfig(large), prompts(codec)
    keep(tmp_path, asked, codec, config)
    if change == "layer":
        config = replace(config, layer=1)
    elif change == "model":
        config = replace(config, large=toy_folder)
    else:
        asked = asked[:3]
    read: list[int] = []
    keep(tmp_path, asked, codec, config, lambda _, done, __: read.append(done))
    assert read[-1] == (3 if change == "prompts" else 8)
    ((wanted, _),) = Reader.load(config.large, config.layer).read(asked[:1], codec)
    found = KeptStates(tmp_path, asked, config)(asked[0]).states
    assert torch.allclose(found.float(), wanted.float(), rtol=0.02, atol=0.02)


def test_a_disk_without_room_is_refused_before_anything_is_read(
    large: Path, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(ModelError, match=r"need 0 MB and the disk has 0 MB left.*--limit"):
        keep(tmp_path / "s", prompts(codec), codec, BridgeConfig(large))


def test_a_model_that_is_not_here_yet_is_fetched(
    large: Path, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> str:
        raise ModelError("not in the cache", "Load the model first")

    monkeypatch.setattr(states, "fingerprint", missing)
    config = BridgeConfig(large)
    keep(tmp_path, prompts(codec), codec, config)
    kept = KeptStates(tmp_path, prompts(codec), config)
    assert kept.source.weights == Reader.load(large).weights


def test_only_prompts_are_fed_and_an_untrained_bridge_changes_nothing(
    large: Path, codec: Codec, toy_folder: Path, tmp_path: Path
) -> None:
    rows, _ = examples(TRACES, codec, 1024)
    course = BridgeCourse(BridgeConfig(large, hidden=24))
    course.prepare(rows, codec, tmp_path, True, lambda *_: None)
    base = load_model(toy_folder, dtype="float32")
    tuned = course.learning(base, FULL, [])
    batch = course.collate(rows[:5], codec.end_id)
    assert batch["states"].shape == (*batch["input_ids"].shape, 48)
    for row, example in enumerate(rows[:5]):
        width, prompt = batch["covered"].shape[1], len(example["input_ids"]) - example["answer"]
        start = width - len(example["input_ids"])
        where = torch.zeros(width, dtype=torch.bool)
        where[start : start + prompt] = True
        assert torch.equal(batch["covered"][row], where)
        assert (batch["states"][row].abs().sum(1) > 0).equal(where)
    plain = {k: v for k, v in batch.items() if k not in ("states", "covered")}
    before = answer_loss(tuned, batch)
    assert before.item() == pytest.approx(answer_loss(base, plain).item(), rel=1e-6)
    before.backward()
    assert tuned.projector.last.weight.grad.abs().sum() > 0
    size = base.get_input_embeddings().weight.square().mean().sqrt()
    assert torch.allclose(tuned.projector.scale, size)
    with torch.no_grad():
        tuned.projector.last.weight.normal_()
    assert answer_loss(tuned, batch).item() != pytest.approx(before.item(), rel=1e-3)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trained_bridge_loads_and_answers_as_it_was_judged(
    large: Path, toy_folder: Path, tmp_path: Path, method: str
) -> None:
    rate = 0.003 if method == "full" else 0.02
    config = replace(FULL, method=method, steps=60, evaluate_every=30, learning_rate=rate)
    out = tmp_path / "m"
    trained = train_bridge(TRACES + VALID, toy_folder, out, BridgeConfig(large), config)
    first, last = trained.evaluations
    assert last.loss < first.loss
    names = {file.name for file in out.iterdir()}
    assert {"bridge.json", "bridge.weights", "model.safetensors", "training.json"} <= names
    assert "checkpoints" not in names
    runner = tascel.load(None, model=out, dtype="float32")
    right = [
        runner.generate(trace.messages).text == trace.answer["content"] for trace in TRACES[:8]
    ]
    assert abs(sum(right) - trained.best.exact) <= 1  # kept in bfloat16, a tie may fall otherwise
    assert sum(right) >= 4
    facts = json.loads((out / "training.json").read_text())
    assert facts["bridge"]["large"] == large.name
    for file in (out / "training.json", out / "config.json"):
        assert str(large) not in file.read_text()
        assert str(tmp_path) not in file.read_text()


def test_the_projector_learns_at_its_own_rate(large: Path) -> None:
    course = BridgeCourse(BridgeConfig(large, rate=7.0))
    assert course.rate("projector.last.weight", FULL) == 7.0
    assert course.rate("writer.model.embed_tokens.weight", FULL) == 1.0


def test_an_interrupted_training_goes_on_without_the_reader(
    large: Path, toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces, bridge = TRACES + VALID, BridgeConfig(large)
    train_bridge(traces, toy_folder, tmp_path / "whole", bridge, FULL)
    steps = 0

    def stop(stage: str, done: int, total: int | None) -> None:
        nonlocal steps
        steps += stage == "training"
        if steps == 5:
            raise KeyboardInterrupt

    part = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        train_bridge(traces, toy_folder, part, bridge, FULL, progress=stop)
    with pytest.raises(ModelError, match="--resume"):
        train_bridge(traces, toy_folder, part, bridge, FULL)
    with pytest.raises(ModelError, match="other settings"):
        train_bridge(traces, toy_folder, part, replace(bridge, how="replace"), FULL, resume=True)
    monkeypatch.setattr(Reader, "load", lambda *_: pytest.fail("was read already"))
    train_bridge(traces, toy_folder, part, bridge, FULL, resume=True)
    for name in ("model.safetensors", "bridge.weights"):
        assert (part / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_makes_no_whole_model_is_refused(
    large: Path, toy_folder: Path, tmp_path: Path
) -> None:
    for config in (replace(FULL, method="lora", adapter_only=True), replace(FULL, method="qlora")):
        with pytest.raises(ModelError, match="written as a whole model"):
            train_bridge(TRACES, toy_folder, tmp_path, BridgeConfig(large), config)
    with pytest.raises(ModelError, match="'stir'"):
        train_bridge(TRACES, toy_folder, tmp_path, BridgeConfig(large, how="stir"), FULL)
    assert not any(tmp_path.iterdir())  # before anything is read


def test_a_plain_training_in_the_folder_leaves_no_bridge(
    large: Path, toy_folder: Path, tmp_path: Path
) -> None:
    config = replace(FULL, steps=1)
    train_bridge(TRACES, toy_folder, tmp_path / "m", BridgeConfig(large), config)
    from tascel.adapt.train.finetune import finetune

    finetune(TRACES, toy_folder, tmp_path / "m", config)
    assert not [*(tmp_path / "m").glob("bridge.*")]
    load_model(tmp_path / "m")
