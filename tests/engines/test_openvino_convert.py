"""Converted models have the model's own logits, or are refused; a folder is written whole."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tascel.codec import Codec
from tascel.engines.hf.load import load_model
from tascel.engines.openvino import convert as converting
from tascel.engines.openvino.convert import EXACT, convert
from tascel.engines.openvino.folder import FACTS, GRAPH, WEIGHTS, is_export, read_facts
from tascel.errors import ModelError

pytestmark = pytest.mark.openvino

TEXT = np.array([5, 200, 31, 9, 77, 140, 8, 255, 12, 60, 61, 62, 100, 3, 90, 41, 17, 230, 6, 199])
WINDOWS = {
    "layer_types": ["full_attention", "sliding_attention"],
    "use_sliding_window": True,
    "sliding_window": 5,
    "max_window_layers": 1,
}
FAMILIES = {
    "Llama": {},
    "Qwen2": {},
    "Qwen2 with windows": WINDOWS,
    "Qwen3": {},
    "Mistral": {},
    "Mistral with windows": {"sliding_window": 5},
    "Gemma": {},
    "Gemma3": {"sliding_window": 5},
    "GPT2": {},
    "GPTNeoX": {},
    "Phi": {},
    "Phi3": {},
}


@pytest.fixture(scope="module")
def codec(tokenizer):
    return Codec.from_tokenizer(tokenizer)


@pytest.fixture
def half(toy):
    """A toy whose weights lose nothing in half precision."""

    def make(family="Llama", **config):
        return toy(family, **config).half().float()

    return make


def own_logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)[None]).logits[0].numpy()


class Reader:
    """Feeds a converted folder as any library would, and knows what it has read."""

    def __init__(self, folder):
        import openvino

        compiled = openvino.Core().compile_model(folder / GRAPH, "CPU", EXACT)
        self._request, self._mask = compiled.create_infer_request(), []

    def read(self, ids, forget=0):
        """Logits f32[n, V] of `ids`; the last `forget` of them are masked from now on."""
        place = sum(self._mask)
        self._request.infer(
            {
                "input_ids": np.asarray(ids)[None],
                "attention_mask": np.array([self._mask + [1] * len(ids)]),
                "position_ids": np.arange(place, place + len(ids))[None],
                "beam_idx": np.zeros(1, np.int32),
            }
        )
        self._mask += [1] * (len(ids) - forget) + [0] * forget
        return self._request.get_tensor("logits").data[0].copy()


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_the_model_s_own(half, codec, tmp_path, name):
    model = half(name.split()[0], **FAMILIES[name])
    truth = own_logits(model, TEXT)
    convert(model, codec, tmp_path / "o", form="fp16", weights="w")
    np.testing.assert_allclose(Reader(tmp_path / "o").read(TEXT), truth, atol=1e-4)
    reader, found = Reader(tmp_path / "o"), []
    found.append(reader.read(TEXT[:7]))
    found.append(reader.read([*TEXT[7:10], 1, 2, 3], forget=3)[:3])  # a refused draft
    found.append(reader.read(TEXT[10:11]))
    found.append(reader.read([*TEXT[11:13], 4], forget=1)[:2])
    found.append(reader.read(TEXT[13:]))
    np.testing.assert_allclose(np.concatenate(found), truth, atol=1e-4)


@pytest.mark.parametrize("name", ["Llama", "Gemma3"])
def test_several_texts_are_read_side_by_side(half, codec, tmp_path, name):
    import openvino

    model = half(name, **FAMILIES[name])
    convert(model, codec, tmp_path / "o", form="fp16", weights="w")
    long, short = TEXT[:9], TEXT[9:14]
    request = openvino.Core().compile_model(tmp_path / "o" / GRAPH, "CPU", EXACT)
    request = request.create_infer_request()
    pad = len(long) - len(short)
    mask = np.array([[1] * len(long), [0] * pad + [1] * len(short)])
    request.infer(
        {
            "input_ids": np.stack([long, np.concatenate([np.zeros(pad, np.int64), short])]),
            "attention_mask": mask,
            "position_ids": np.maximum(mask.cumsum(1) - 1, 0),
            "beam_idx": np.arange(2, dtype=np.int32),
        }
    )
    found = request.get_tensor("logits").data
    np.testing.assert_allclose(found[0], own_logits(model, long), atol=1e-4)
    np.testing.assert_allclose(found[1, pad:], own_logits(model, short), atol=1e-4)


@pytest.mark.parametrize(
    ("family", "complaint"),
    [
        ("Mpt", "MptForCausalLM would answer otherwise under OpenVINO"),
        ("Bloom", "OpenVINO cannot run BloomForCausalLM"),
        ("Mamba", "MambaForCausalLM cannot check drafts"),
        ("Llama4", "Llama4ForCausalLM has layers of chunked_attention"),
    ],
)
def test_what_cannot_be_converted_is_named(toy, codec, tmp_path, family, complaint):
    with pytest.raises(ModelError, match=complaint):
        convert(toy(family), codec, tmp_path / "o", form="fp16", weights="w")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_model_s(half, codec, tmp_path):
    """One matrix for both ends, more rows than the tokenizer has ids, two ends."""
    model = half(tie_word_embeddings=True, vocab_size=304, max_position_embeddings=64)
    model.generation_config.eos_token_id = [271, 256]
    stages = []
    done = convert(
        model, codec, tmp_path / "a" / "o", form="fp16", weights="w",
        progress=lambda stage, at, total: stages.append((stage, at)),
    )  # fmt: skip
    folder = tmp_path / "a" / "o"
    facts = read_facts(folder)
    assert is_export(folder)
    assert (facts.weights, facts.form, facts.vocab_size) == ("w", "fp16", 304)
    assert facts.eos_ids == (256, 271)
    assert facts.context_limit == facts.draft_limit == 64
    again = Codec.from_pretrained(folder)
    assert again.fingerprint == codec.fingerprint
    np.testing.assert_array_equal(again.prompt("light"), codec.prompt("light"))
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] is not None
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    assert {at for _, at in stages} == {0, 1}
    assert done.size == (folder / WEIGHTS).stat().st_size
    assert done.mean <= done.most <= 1e-4 < done.spread
    for file in folder.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()
        assert file.stat().st_mode == (folder / FACTS).stat().st_mode


def test_texts_end_where_a_rope_turns_otherwise(half, codec, tmp_path):
    """Only the rope of short texts is in the graph."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [3.0] * 4,
        "original_max_position_embeddings": 48,
        "factor": 5.0,
    }
    model = half("Phi3", rope_parameters=rope, original_max_position_embeddings=48)
    convert(model, codec, tmp_path / "o", form="fp16", weights="w")
    facts = read_facts(tmp_path / "o")
    assert facts.context_limit == facts.draft_limit == 48
    text = np.resize(TEXT, 48)
    found = Reader(tmp_path / "o").read(text)
    np.testing.assert_allclose(found, own_logits(model, text), atol=1e-4)
    longer = np.resize(TEXT, 60)
    found = Reader(tmp_path / "o").read(longer)
    assert np.abs(found - own_logits(model, longer)).max() > 0.1


def test_int8_is_half_the_size_and_near(half, codec, tmp_path, capfd):
    model = half(hidden_size=64, intermediate_size=128)
    plain = convert(model, codec, tmp_path / "fp16", form="fp16", weights="w")
    small = convert(model, codec, tmp_path / "int8", form="int8", weights="w")
    assert small.size < 0.6 * plain.size
    assert plain.most <= 1e-4
    assert 1e-4 < small.mean < 0.1 * small.spread
    apart = np.abs(Reader(tmp_path / "int8").read(TEXT) - own_logits(model, TEXT))
    assert apart.mean() < 0.1 * small.spread
    assert read_facts(tmp_path / "int8").form == "int8"
    assert capfd.readouterr().out == ""


def test_adapters_are_merged(toy, toy_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        get_peft_model(toy(), settings).save_pretrained(tmp_path / "adapter")
    model = load_model(toy_folder, tmp_path / "adapter", "float32", "cpu").half().float()
    codec = Codec.from_pretrained(toy_folder)
    convert(model, codec, tmp_path / "o", form="fp16", weights="w")
    found = Reader(tmp_path / "o").read(TEXT)
    np.testing.assert_allclose(found, own_logits(model, TEXT), atol=1e-4)
    assert np.abs(found - own_logits(load_model(toy_folder), TEXT)).max() > 0.1


def test_new_tokens_go_along(half, tokenizer, tmp_path):
    from tascel.adapt.tokens import rows
    from tascel.adapt.tokens.vocabulary import Vocabulary

    before = Codec.from_tokenizer(tokenizer)
    run = tuple(before.output("kitchen").tolist())
    extended, new = Vocabulary(tokenizer).extend([run])
    codec = Codec.from_tokenizer(extended)
    model = half(vocab_size=before.vocab_size)
    rows.add(model, new)
    convert(model.half().float(), codec, tmp_path / "o", form="fp16", weights="w")
    again = Codec.from_pretrained(tmp_path / "o")
    (added,) = new.runs
    assert again.output("kitchen").tolist() == [added]
    assert read_facts(tmp_path / "o").vocab_size == added + 1
    text = np.array([*TEXT, added])
    found = Reader(tmp_path / "o").read(text)
    np.testing.assert_allclose(found, own_logits(model, text), atol=1e-4)


def test_what_is_asked_wrongly_is_refused_early(half, codec, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for name, form, complaint in (
        ("file", "fp16", "not an empty folder"),
        ("full", "fp16", "not an empty folder"),
        ("o", "int3", "unknown weights int3. Choose one of fp16, int8"),
    ):
        with pytest.raises(ModelError, match=complaint):
            convert(half(), codec, tmp_path / name, form=form, weights="w")
    monkeypatch.setattr(converting, "find_spec", lambda name: None if name == "nncf" else name)
    with pytest.raises(ModelError, match=r"needs nncf.*openvino-export"):
        convert(half(), codec, tmp_path / "o", form="int8", weights="w")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "full", "mine"]


def test_a_quantised_model_is_refused(half, codec, tmp_path):
    model = half()
    model.is_quantized = True
    with pytest.raises(ModelError, match=r"quantised already.*made from"):
        convert(model, codec, tmp_path / "o", form="fp16", weights="w")


def test_a_full_disk_leaves_nothing(half, codec, tmp_path, monkeypatch):
    def full(folder, facts):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(converting, "write_facts", full)
    with pytest.raises(ModelError, match="disk is full"):
        convert(half(), codec, tmp_path / "o", form="fp16", weights="w")
    assert list(tmp_path.iterdir()) == []


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from tascel.codec import Codec
from tascel.engines.hf.load import load_model
from tascel.engines.openvino import convert as converting
from tascel.errors import ModelError

model, out, what = sys.argv[1:]
lm, codec = load_model(model), Codec.from_pretrained(model)
if what == "killed":
    converting.write_facts = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:  # no file may grow beyond this
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(what), resource.RLIM_INFINITY))
try:
    converting.convert(lm, codec, Path(out), form="fp16", weights="w")
except ModelError as error:
    sys.exit(str(error))
"""


def child(model, out, what):
    asked = [sys.executable, "-c", CHILD, str(model), str(out), what]
    return subprocess.run(asked, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_openvino_s_own_writer_may_fail(toy_folder, tmp_path):
    done = child(toy_folder, tmp_path / "o", "30000")  # half of the weights
    assert done.returncode == 1
    assert "cannot be written whole" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_export_is_no_export_and_can_be_made_again(toy_folder, tmp_path):
    out = tmp_path / "o"
    assert child(toy_folder, out, "killed").returncode == -signal.SIGKILL
    assert not out.exists()
    model, codec = load_model(toy_folder), Codec.from_pretrained(toy_folder)
    convert(model, codec, out, form="fp16", weights="w")
    assert read_facts(out).weights == "w"


def test_the_verb(toy_folder, lamps, tmp_path, monkeypatch, capsys):
    from tascel import cli
    from tascel.builder import build
    from tascel.engines.hf.load import fingerprint

    def tascel(*args):
        monkeypatch.setattr(sys, "argv", ["tascel", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("warnings.showwarning", None)
    bundle = build(lamps, toy_folder, tmp_path / "bundle").path
    export = ("export", bundle, "--to", "openvino", "-o", tmp_path / "o")
    code, out, _ = tascel(*export, "-m", toy_folder, "--weights", "int8")
    assert code == 0
    assert "of int8 weights" in out
    assert f"--model {tmp_path / 'o'} --engine openvino" in out
    facts = read_facts(tmp_path / "o")
    assert (facts.form, facts.weights) == ("int8", fingerprint(toy_folder))
    for more, complaint in (
        (("-m", toy_folder), "not an empty folder"),
        ((), "which model is OpenVINO to run"),
        (("-m", toy_folder, "--gguf", "x"), "--gguf is not for openvino"),
    ):
        code, _, told = tascel(*export, *more)
        assert code == 1
        assert complaint in told
    other = Path(shutil.copytree(toy_folder, tmp_path / "other"))
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text.replace('"Ġthe"', '"Ġhet"'), encoding="utf-8")
    shutil.rmtree(tmp_path / "o")
    code, _, told = tascel(*export, "-m", other)
    assert code == 1
    assert "built with the tokenizer of" in told or "no tokenizer" in told
    assert not (tmp_path / "o").exists()
