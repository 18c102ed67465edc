"""Fine-tuning: learns, resumes, and writes what loads and names no path."""

from __future__ import annotations

import errno
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import tascel
from tascel.adapt.train import checkpoints, saving, trainer
from tascel.adapt.train.config import Evaluation, FinetuneConfig
from tascel.adapt.train.data import collate, examples
from tascel.adapt.train.finetune import finetune
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
VALID = [replace(trace, split="valid") for trace in TRACES[:8]]
CONFIG = FinetuneConfig(
    rank=4, alpha=8, batch=4, steps=6, learning_rate=0.02, evaluate_every=3, adapter_only=True
)


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
    assert (trained.best, trained.evaluations) == (None, ())
    stage, done, total = told[-1]
    assert (stage, done) == ("training", total)
    names = {p.name for p in (tmp_path / "a").iterdir()}
    assert names == {"adapter_model.safetensors", "adapter_config.json", "training.json"}
    before = loss(load_model(toy_folder, dtype="float32"), toy_folder)
    after = loss(load_model(toy_folder, tmp_path / "a", dtype="float32"), toy_folder)
    assert after < 0.8 * before
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    assert len(weights) == 2 * 2 * 7
    assert trained.parameters == sum(w.numel() for w in weights.values())


def test_a_merged_model_is_the_base_with_its_adapter(toy_folder: Path, tmp_path: Path) -> None:
    finetune(TRACES, toy_folder, tmp_path / "a", CONFIG)
    finetune(TRACES, toy_folder, tmp_path / "m", replace(CONFIG, adapter_only=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stock = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    merged, adapted = stock.state_dict(), load_model(toy_folder, tmp_path / "a").state_dict()
    assert all(torch.equal(merged[name], adapted[name]) for name in merged | adapted)
    assert len({file.stat().st_mode for file in (tmp_path / "m").iterdir()}) == 1
    runner = tascel.load(None, model=tmp_path / "m")
    ours = runner.generate("say in", max_tokens=20)
    prompt = torch.tensor([runner.codec.prompt("say in").tolist()])
    theirs = stock.generate(prompt, max_new_tokens=20, do_sample=False)[0, prompt.shape[1] :]
    assert list(ours.tokens) == theirs.tolist()


@pytest.mark.parametrize("adapter", [True, False])
def test_nothing_written_names_a_local_path(
    toy_folder: Path, tmp_path: Path, adapter: bool
) -> None:
    config = FinetuneConfig(steps=1, batch=2, adapter_only=adapter)
    finetune(TRACES, toy_folder, tmp_path / "a", config)
    for file in (tmp_path / "a").glob("*.json"):
        text = file.read_text()
        assert str(tmp_path) not in text
        assert str(toy_folder.parent) not in text
    facts = json.loads((tmp_path / "a" / "training.json").read_text())
    assert facts["base_model"] == toy_folder.name
    assert facts["settings"]["steps"] == 1
    assert {"torch", "peft", "transformers", "tascel"} == set(facts["versions"])


def test_all_weights_can_be_trained(toy_folder: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(method="full", steps=20, batch=8, learning_rate=0.002)
    trained = finetune(TRACES, toy_folder, tmp_path / "m", config)
    model = load_model(tmp_path / "m")
    assert trained.parameters == sum(p.numel() for p in model.parameters())
    assert loss(model, tmp_path / "m") < 0.8 * loss(load_model(toy_folder), toy_folder)


def test_the_best_checkpoint_is_kept_and_training_stops(toy_folder: Path, tmp_path: Path) -> None:
    """A rate that breaks the model on the way: what was best before is what comes out."""
    heard: list[Evaluation] = []
    config = replace(CONFIG, learning_rate=0.5, steps=40, evaluate_every=1, patience=2)
    trained = finetune(
        TRACES + VALID, toy_folder, tmp_path / "a", config, on_evaluation=heard.append
    )
    assert trained.evaluations == tuple(heard)
    assert trained.best == min(heard, key=lambda e: e.loss)
    assert trained.steps == trained.best.step + 2 < 40
    assert {e.tried for e in heard} == {8}
    found = loss(load_model(toy_folder, tmp_path / "a", dtype="bfloat16"), toy_folder)
    assert found == pytest.approx(trained.best.loss, rel=0.05)


def test_exact_answers_are_counted(toy_folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=80, evaluate_every=40)
    trained = finetune(TRACES + VALID, toy_folder, tmp_path / "a", config)
    first, last = trained.evaluations
    assert first.exact < last.exact
    runner = tascel.load(None, model=toy_folder, adapter=tmp_path / "a", dtype="bfloat16")
    right = [
        runner.generate(trace.messages).text == trace.answer["content"] for trace in TRACES[:8]
    ]
    assert abs(sum(right) - last.exact) <= 1  # merged in bfloat16: a tie may fall otherwise


@pytest.mark.parametrize("at", [2, 5, 6])
def test_an_interrupted_training_goes_on_to_the_same_adapter(
    toy_folder: Path, tmp_path: Path, at: int
) -> None:
    traces = TRACES + VALID
    finetune(traces, toy_folder, tmp_path / "whole", CONFIG)
    part = tmp_path / "part"
    steps = 0

    def stop(stage: str, done: int, total: int | None) -> None:
        nonlocal steps
        steps += stage == "training"
        if steps == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(traces, toy_folder, part, CONFIG, progress=stop)
    if at > 3:
        with pytest.raises(ModelError, match=r"unfinished training.*--resume"):
            finetune(traces, toy_folder, part, CONFIG)
        with pytest.raises(ModelError, match="other settings"):
            finetune(traces, toy_folder, part, replace(CONFIG, rank=2), resume=True)
    steps = -10
    finetune(traces, toy_folder, part, CONFIG, resume=True, progress=stop)
    assert steps == -10 + (3 if at > 3 else 6)
    one, other = same_files(tmp_path / "whole", part)
    assert all(torch.equal(one[key], other[key]) for key in one)


def same_files(one: Path, other: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}
    name = "adapter_model.safetensors"
    return load_file(one / name), load_file(other / name)


def test_a_result_that_could_not_be_written_is_written_later(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    finetune(TRACES, toy_folder, tmp_path / "whole", CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(saving, "_save_adapter", full)
        with pytest.raises(ModelError, match=r"No space left.*--resume"):
            finetune(TRACES, toy_folder, tmp_path / "part", CONFIG)
    finetune(TRACES, toy_folder, tmp_path / "part", CONFIG, resume=True)
    one, other = same_files(tmp_path / "whole", tmp_path / "part")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_full_disk_is_named_and_costs_no_checkpoint(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = trainer.save_file, 0

    def second_fails(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_file", second_fails)
        with pytest.raises(ModelError, match=r"checkpoint-6 cannot be written.*No space"):
            finetune(TRACES, toy_folder, tmp_path / "a", CONFIG)
    assert (tmp_path / "a/checkpoints/checkpoint-3/complete.json").exists()
    assert finetune(TRACES, toy_folder, tmp_path / "a", CONFIG, resume=True).steps == 6
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_BYTES_A_PARAMETER", 1 << 50)
        with pytest.raises(ModelError, match=r"checkpoints need .* MB"):
            finetune(TRACES, toy_folder, tmp_path / "b", CONFIG)


@pytest.fixture(scope="module")
def bases(toy: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of toys: tied and not, without a spare row, and with a bias in the head."""
    made = {
        "tied": toy(tie_word_embeddings=True),
        "untied": toy(),
        "full": toy(vocab_size=len(tokenizer)),
        "bias": toy("Phi", partial_rotary_factor=0.5),
    }
    folder = tmp_path_factory.mktemp("bases")
    for name, model in made.items():
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in made}


@pytest.mark.parametrize("init", ["mean", "directional", "head-first"])
@pytest.mark.parametrize("kind", ["tied", "untied", "full"])
def test_new_tokens_are_learned_and_loaded(
    bases: dict[str, Path], tmp_path: Path, kind: str, init: str
) -> None:
    config = replace(CONFIG, new_tokens=3, init=init, steps=60, evaluate_every=60)
    trained = finetune(TRACES + VALID, bases[kind], tmp_path / "a", config)
    merged = replace(config, adapter_only=False)
    finetune(TRACES + VALID, bases[kind], tmp_path / "m", merged)
    assert trained.new_tokens == 3
    assert trained.best is not None
    assert trained.best.loss < 2
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")
    rows = {name: w for name, w in weights.items() if "token" in name}
    assert {tuple(w.shape) for w in rows.values()} == {(3, 32)}
    assert len(rows) == (1 if kind == "tied" and init != "directional" else 2)
    assert len(weights) - len(rows) == 2 * 2 * 7
    assert (tmp_path / "a" / "adapter_model.safetensors").stat().st_size < 30_000

    adapted = tascel.load(None, model=bases[kind], adapter=tmp_path / "a")
    runner = tascel.load(None, model=tmp_path / "m")
    new = set(runner.codec.new_tokens.runs)
    assert adapted.codec.fingerprint == runner.codec.fingerprint
    answers = [(adapted.generate(t.messages), runner.generate(t.messages)) for t in TRACES[:8]]
    assert all(one.tokens == other.tokens for one, other in answers)
    assert any(new & set(one.tokens) for one, _ in answers)
    ours, base = answers[0][0], Codec.from_pretrained(bases[kind])
    prompt = runner.codec.prompt(TRACES[0].messages).tolist()
    assert prompt == base.prompt(TRACES[0].messages).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stock = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
        words = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    theirs = stock.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)
    assert theirs[0, len(prompt) :].tolist() == list(ours.tokens[:20])
    text = words.decode(theirs[0, len(prompt) :], skip_special_tokens=True)
    assert text == runner.codec.decode(ours.tokens[:20])
    index = min(new)  # rows of old ids are what they were
    embedding = load_model(bases[kind]).get_input_embeddings().weight[:index]
    assert torch.equal(stock.get_input_embeddings().weight[:index], embedding)


def test_a_model_that_has_new_tokens_can_learn_on(bases: dict[str, Path], tmp_path: Path) -> None:
    config = replace(CONFIG, new_tokens=3, adapter_only=False)
    finetune(TRACES, bases["tied"], tmp_path / "m", config)
    again = finetune(TRACES, tmp_path / "m", tmp_path / "again", replace(config, new_tokens=0))
    assert again.new_tokens == 0
    one, other = (Codec.from_pretrained(tmp_path / name) for name in ("m", "again"))
    assert one.fingerprint == other.fingerprint
    before, after = (
        load_model(tmp_path / name).get_input_embeddings().weight for name in ("m", "again")
    )
    assert torch.equal(before, after)
    with pytest.raises(ModelError, match="has new tokens already"):
        finetune(TRACES, tmp_path / "m", tmp_path / "a", config)


def test_a_head_with_a_bias_learns_new_tokens_as_a_whole(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    config = replace(CONFIG, new_tokens=3)
    with pytest.raises(ModelError, match=r"bias.*--method full"):
        finetune(TRACES, bases["bias"], tmp_path / "a", config)
    full = replace(config, method="full", adapter_only=False, learning_rate=0.002)
    assert finetune(TRACES, bases["bias"], tmp_path / "m", full).new_tokens == 3
    assert tascel.load(None, model=tmp_path / "m").generate("say in", max_tokens=4).tokens


def test_fewer_frequent_ngrams_than_asked_for_are_said(toy_folder: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="asked for"):
        trained = finetune(TRACES, toy_folder, tmp_path / "a", replace(CONFIG, new_tokens=500))
    assert 0 < trained.new_tokens < 500
    words = [replace(t, answer={"role": "assistant", "content": "a"}) for t in TRACES]
    with pytest.warns(UserWarning, match="nothing to gain"):
        trained = finetune(words, toy_folder, tmp_path / "b", replace(CONFIG, new_tokens="auto"))
    assert trained.new_tokens == 0


def test_what_cannot_be_trained_is_named(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt_only = [Trace(messages=({"role": "user", "content": "a"},))]
    with pytest.raises(TraceError, match="no trace to learn from"):
        finetune(prompt_only, toy_folder, tmp_path / "a")
    with pytest.raises(TraceError, match="16 were longer than 4 tokens"):
        finetune(TRACES, toy_folder, tmp_path / "a", FinetuneConfig(max_length=4))
    with pytest.raises(ModelError):
        finetune(TRACES, tmp_path / "nothing", tmp_path / "a")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    for method, words in (("qlora", "needs bitsandbytes"), ("lorra", "unknown method lorra")):
        with pytest.raises(ModelError, match=words):
            finetune(TRACES, toy_folder, tmp_path / "a", FinetuneConfig(method=method))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="unknown init"):
        finetune(TRACES, toy_folder, tmp_path / "a", FinetuneConfig(init="zero"))
    config = FinetuneConfig(method="full", adapter_only=True)
    with pytest.raises(ModelError, match="makes no adapter"):
        finetune(TRACES, toy_folder, tmp_path / "a", config)
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(ModelError, match="needs an accelerator"):
        finetune(TRACES, toy_folder, tmp_path / "a", FinetuneConfig(method="qlora"))
    assert not (tmp_path / "a").exists()
    with pytest.raises(ModelError, match="holds a model"):
        finetune(TRACES, toy_folder, toy_folder, CONFIG)


def test_new_rows_learn_at_their_own_rate(toy_folder: Path, tmp_path: Path) -> None:
    """The adapter of a training whose rows stand still holds them as they began."""
    still = replace(CONFIG, new_tokens=2, init="mean", row_rate=0.0)
    finetune(TRACES, toy_folder, tmp_path / "still", still)
    finetune(TRACES, toy_folder, tmp_path / "moved", replace(still, row_rate=5.0))
    rows = {
        name: next(
            weight
            for key, weight in load_file(tmp_path / name / "adapter_model.safetensors").items()
            if "embed" in key
        )
        for name in ("still", "moved")
    }
    codec = Codec.from_pretrained(tmp_path / "still")
    base = load_model(toy_folder, dtype="bfloat16").get_input_embeddings().weight
    for row, run in zip(rows["still"], codec.new_tokens.runs.values(), strict=True):
        assert torch.equal(row, base[list(run)].float().mean(0).bfloat16())
    assert not torch.equal(rows["still"], rows["moved"])
