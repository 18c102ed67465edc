"""A large model's states: of which layer, of which of its three kinds, in a batch as alone."""

from __future__ import annotations

import shutil
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tascel.codec import Codec
from tascel.engines.hf.bridge.projector import Projector, fuse
from tascel.engines.hf.bridge.reader import Reader
from tascel.errors import ModelError


@pytest.fixture(scope="module")
def codec(tokenizer: Any) -> Codec:
    return Codec.from_tokenizer(tokenizer)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def prompts(codec: Codec) -> list[Any]:
    return [codec.prompt(text) for text in ("the lamp 🙂 in the den", "on", "thé CAFÉ, light 4!")]


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_states_are_a_layers_output(larges: Any, codec: Codec, layer: int) -> None:
    from transformers import AutoModelForCausalLM

    reader = Reader.load(larges["llama"], layer)
    whole: Any = AutoModelForCausalLM.from_pretrained(larges["llama"])
    seen: list[torch.Tensor] = []
    whole.model.layers[layer - 1].register_forward_hook(lambda m, given, out: seen.append(out))
    for prompt, found in zip(prompts(codec), reader.read(prompts(codec), codec), strict=True):
        with torch.inference_mode():
            whole(input_ids=torch.tensor(prompt[None].astype(np.int64)))
        close(found.states, seen.pop()[0].clone())
        assert found.covered.all()
    assert len(list(reader._body.layers)) == layer  # the others are gone


def test_two_thirds_of_a_decoder_are_read_by_default(larges: Any) -> None:
    reader = Reader.load(larges["llama"])
    assert (reader.layer, reader.width, reader.limit) == (2, 48, 256)
    assert not any(parameter.requires_grad for parameter in reader._body.parameters())


@pytest.mark.parametrize("kind", ["llama", "t5", "bert"])
def test_a_batch_reads_as_one_prompt_after_the_other(larges: Any, codec: Codec, kind: str) -> None:
    reader = Reader.load(larges[kind])
    asked = prompts(codec)
    for prompt, found in zip(asked, reader.read(asked, codec), strict=True):
        (alone,) = reader.read([prompt], codec)
        assert found.states.shape == (len(prompt), reader.width)
        close(found.states, alone.states)
        assert torch.equal(found.covered, alone.covered)
        assert found.states[~found.covered].abs().sum() == 0
        assert found.covered.sum() > len(prompt) / 3


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_an_encoder_is_read_by_its_last_layer(larges: Any, codec: Codec, kind: str) -> None:
    from transformers import AutoModel

    reader = Reader.load(larges[kind])
    assert reader.layer is None
    whole: Any = AutoModel.from_pretrained(larges[kind])
    encoder = whole.get_encoder() if kind == "t5" else whole
    prompt = codec.output("the lamp")
    (found,) = reader.read([prompt], codec)
    ids = reader._tokenizer.encode("the lamp").ids
    with torch.inference_mode():
        states = encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]
    first = 1 if kind == "bert" else 0  # [CLS] before, </s> or [SEP] behind
    assert reader._tokenizer.decode(ids[first:-1]).replace("  ", " ") == "the lamp"
    close(found.states[0], states[first].clone())
    close(found.states[-1], states[-2].clone())


def test_an_adapter_changes_what_is_read(larges: Any, codec: Codec, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    whole: Any = AutoModelForCausalLM.from_pretrained(larges["llama"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        get_peft_model(whole, settings).save_pretrained(tmp_path)
    plain, changed = (Reader.load(larges["llama"], 2, adapter) for adapter in (None, tmp_path))
    assert plain.weights != changed.weights
    prompt = codec.prompt("the lamp")
    one, other = (reader.read([prompt], codec)[0].states for reader in (plain, changed))
    assert not torch.allclose(one, other)


def test_what_is_longer_than_its_context_is_cut(larges: Any, codec: Codec) -> None:
    prompt = codec.output("ab " * 90)
    (found,) = Reader.load(larges["bert"]).read([prompt], codec)  # 64 positions
    assert found.covered[:20].any()
    assert not found.covered[-50:].any()


def test_a_reader_that_is_gone_leaves_no_model_in_memory(larges: Any, codec: Codec) -> None:
    reader = Reader.load(larges["llama"])
    reader.read(prompts(codec), codec)
    left = weakref.ref(reader._body)
    del reader
    assert left() is None


def test_a_dtype_is_kept(larges: Any, codec: Codec) -> None:
    for kind in ("llama", "bert"):
        reader = Reader.load(larges[kind], dtype="bfloat16")
        (found,) = reader.read([codec.prompt("the lamp")], codec)
        assert (reader.dtype, found.states.dtype) == ("bfloat16", torch.bfloat16)


def test_what_cannot_be_read_is_refused(larges: Any, tmp_path: Path) -> None:
    for kind in ("t5", "bert"):
        with pytest.raises(ModelError, match="last layer"):
            Reader.load(larges[kind], layer=1)
        with pytest.raises(ModelError, match="without adapter"):
            Reader.load(larges[kind], adapter=tmp_path)
    for layer in (0, 4):
        with pytest.raises(ModelError, match=f"no layer {layer}"):
            Reader.load(larges["llama"], layer)
    with pytest.raises(ModelError, match="no folder"):
        Reader.load(tmp_path / "nothing")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Reader.load(tmp_path)
    for kind in ("llama", "bert"):
        shutil.copytree(larges[kind], tmp_path / kind)
        (tmp_path / kind / "tokenizer.json").unlink()
        with pytest.raises(ModelError, match="tokenizer"):
            Reader.load(tmp_path / kind)
        shutil.copy(larges[kind] / "tokenizer.json", tmp_path / kind)
        (tmp_path / kind / "model.safetensors").write_bytes(b"damaged")
        with pytest.raises(ModelError, match="cannot be loaded"):
            Reader.load(tmp_path / kind)


def test_fused_by_addition_a_projector_begins_silent() -> None:
    embedded = torch.randn(5, 8, dtype=torch.bfloat16)
    covered = torch.tensor([True, False, True, True, False])
    states = torch.randn(5, 12) * 1000
    added = fuse(embedded, Projector(12, 6, 8)(states), covered)
    assert torch.equal(added, embedded)
    replacing = Projector(12, 6, 8, "replace")
    replaced = fuse(embedded, replacing(states), covered, "replace")
    assert replaced.dtype == embedded.dtype
    assert torch.equal(replaced[~covered], embedded[~covered])
    assert torch.equal(replaced[covered], replacing(states)[covered].bfloat16())
    with pytest.raises(ModelError, match="'stir'"):
        Projector(12, 6, 8, "stir")


def test_the_size_of_a_state_does_not_matter() -> None:
    projector = Projector(12, 6, 8, "replace")
    states = torch.randn(5, 12)
    torch.testing.assert_close(projector(states), projector(states * 1000))
