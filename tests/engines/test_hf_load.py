"""Loading models and adapters: what comes out, and what is said when nothing can."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tascel.engines.hf.load import fingerprint, load_model
from tascel.errors import ModelError

IDS = torch.tensor([[72, 101, 108, 108, 111]])


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """An adapter for the toy of `toy_folder`, and the logits it should give."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(
            toy(), LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        ).eval()
        model.save_pretrained(folder)
    with torch.inference_mode():
        return folder, model(IDS).logits


def test_a_folder_loads_quietly(toy: Any, toy_folder: Path, capfd: Any) -> None:
    model = load_model(toy_folder)
    assert model.dtype == torch.float32
    assert not model.training
    with torch.inference_mode():
        torch.testing.assert_close(model(IDS).logits, toy()(IDS).logits)
    assert capfd.readouterr() == ("", "")
    assert load_model(str(toy_folder), dtype="bfloat16").dtype == torch.bfloat16


def test_an_adapter_is_merged(toy_folder: Path, adapted: Any, capfd: Any) -> None:
    folder, expected = adapted
    model = load_model(toy_folder, folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    with torch.inference_mode():
        torch.testing.assert_close(model(IDS).logits, expected, rtol=1e-4, atol=1e-4)
        assert (load_model(toy_folder)(IDS).logits - expected).abs().max() > 0.1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "config", [{"hidden_size": 48}, {"num_hidden_layers": 1}, {"num_hidden_layers": 3}]
)
def test_an_adapter_of_another_base_is_refused(
    toy: Any, adapted: Any, tmp_path: Path, config: dict[str, int]
) -> None:
    other = save(toy(**config), tmp_path / "other")
    with pytest.raises(ModelError, match="adapter") as caught:
        load_model(other, adapted[0])
    assert str(other) in caught.value.remedy


def test_what_is_no_model_is_named(toy: Any, toy_folder: Path, tmp_path: Path) -> None:
    def broken(name: str, **files: bytes) -> Path:
        folder = shutil.copytree(toy_folder, tmp_path / name)
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_bytes(content)
        return folder

    weights = (toy_folder / "model.safetensors").read_bytes()
    deeper = json.loads((toy_folder / "config.json").read_text()) | {"num_hidden_layers": 3}
    wider = deeper | {"num_hidden_layers": 2, "intermediate_size": 64}
    cases = [
        (tmp_path / "nowhere", "there is no folder"),
        ("./nowhere", "there is no folder"),
        (tmp_path, "cannot be loaded"),
        (broken("unknown", config__json=b'{"model_type": "novel"}'), "cannot be loaded.*novel"),
        (broken("t5", config__json=b'{"model_type": "t5"}'), "cannot be loaded.*T5Config"),
        (broken("torn", model__safetensors=weights[:1000]), "cannot be loaded"),
        (broken("deeper", config__json=json.dumps(deeper).encode()), "9 weights"),
        (broken("wider", config__json=json.dumps(wider).encode()), "6 weights"),
    ]
    for model, message in cases:
        with pytest.raises(ModelError, match=message) as caught:
            load_model(model)
        assert caught.value.remedy
    with pytest.raises(ModelError, match="unknown dtype int3"):
        load_model(toy_folder, dtype="int3")
    with pytest.raises(ModelError, match="cannot be moved to nonsense"):
        load_model(toy_folder, device="nonsense")
    with pytest.raises(ModelError, match=r"adapter.*cannot be loaded"):
        load_model(toy_folder, tmp_path / "torn")


def test_a_name_that_is_not_in_the_cache_has_no_fingerprint(tmp_path: Path) -> None:
    for name in ("nobody/nothing-at-all", "not a name/at/all"):
        with pytest.raises(ModelError, match="not in the Hugging Face cache"):
            fingerprint(name)
    with pytest.raises(ModelError, match="no weight files"):
        fingerprint(tmp_path)


def test_the_fingerprint_is_of_the_weights(
    toy: Any, toy_folder: Path, adapted: Any, tmp_path: Path
) -> None:
    own = fingerprint(toy_folder)
    moved = shutil.copytree(toy_folder, tmp_path / "moved")
    (moved / "README.md").write_text("hello")
    shutil.copy(adapted[0] / "adapter_model.safetensors", moved)
    assert fingerprint(str(moved)) == own
    seen = {own, fingerprint(toy_folder, adapted[0])}
    other = save(toy(seed=1), tmp_path / "other")
    seen.add(fingerprint(other))
    half = save(toy().to(torch.bfloat16), tmp_path / "half")
    seen.add(fingerprint(half))
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    seen.add(fingerprint(moved))
    assert len(seen) == 5
    assert all(len(digest) == 64 for digest in seen)


def test_an_id_is_found_in_the_hub_cache(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    revision = "0" * 40
    repo = tmp_path / "models--someone--toy"
    shutil.copytree(toy_folder, repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(revision)
    download = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **options: download(name, cache_dir=tmp_path, **options),
    )
    assert fingerprint("someone/toy") == fingerprint(toy_folder)
