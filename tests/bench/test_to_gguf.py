"""Our GGUF of a model is the model: its weights, its vocabulary, and what llama.cpp answers."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from tascel.codec import Codec

convert = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "to_gguf.py"))["convert"]


@pytest.fixture(scope="module")
def gguf(toy_folder, tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    convert(toy_folder, file)
    return file


def test_header_and_weights_are_the_model_s(toy_folder, gguf):
    from gguf import GGUFReader
    from safetensors.numpy import load_file

    reader = GGUFReader(gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    config = json.loads((toy_folder / "config.json").read_text())
    assert fields["llama.block_count"] == config["num_hidden_layers"]
    assert fields["llama.rope.freq_base"] == config["rope_parameters"]["rope_theta"]
    assert fields["tokenizer.ggml.eos_token_id"] == config["eos_token_id"]
    assert fields["tokenizer.ggml.add_bos_token"] is False
    codec = Codec.from_pretrained(toy_folder)
    vocabulary = codec.tokenizer.get_vocab(with_added_tokens=True)
    pieces = fields["tokenizer.ggml.tokens"]
    assert len(pieces) == config["vocab_size"]
    assert all(pieces[id_] == piece for piece, id_ in vocabulary.items())
    weights = load_file(toy_folder / "model.safetensors")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(tensors) == len(weights)
    assert np.array_equal(tensors["token_embd.weight"], weights["model.embed_tokens.weight"])
    name = "model.layers.1.self_attn.q_proj.weight"
    theirs, ours = weights[name], tensors["blk.1.attn_q.weight"]
    assert not np.array_equal(ours, theirs)  # pairs that are rotated together are neighbours
    assert sorted(map(tuple, ours)) == sorted(map(tuple, theirs))


@pytest.mark.llamacpp
def test_llama_cpp_answers_as_the_model(toy_folder, gguf):
    import torch
    from llama_cpp import Llama
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(toy_folder, dtype=torch.float32)
    llama = Llama(str(gguf), n_ctx=128, n_threads=1, verbose=False)
    codec = Codec.from_pretrained(toy_folder)
    for text in ("light", "play a song", "12 lamps, überall"):
        ids = codec.prompt([{"role": "user", "content": text}]).tolist()
        spelled = codec.tokenizer.decode(ids, skip_special_tokens=False).encode()
        assert llama.tokenize(spelled, add_bos=False, special=True) == ids
        said = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=40, do_sample=False,
        )[0, len(ids) :].tolist()  # fmt: skip
        written = list[int]()
        for token in llama.generate(ids, temp=0.0):
            written.append(token)
            if token == codec.end_id or len(written) == 40:
                break
        assert written == said


@pytest.mark.parametrize(
    ("file", "changed", "why"),
    [
        ("config.json", {"model_type": "qwen2"}, "type qwen2"),
        ("config.json", {"attention_bias": True}, "biases"),
        ("config.json", {"rope_parameters": {"rope_type": "yarn"}}, "scaled by yarn"),
        ("config.json", {"num_hidden_layers": 3}, r"model without model\.layers\.2"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, "no byte-level BPE"),
    ],
)
def test_other_models_are_refused_and_nothing_is_left(toy_folder, tmp_path, file, changed, why):
    folder = tmp_path / "model"
    shutil.copytree(toy_folder, folder)
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | changed))
    with pytest.raises(SystemExit, match=why):
        convert(folder, tmp_path / "out.gguf")
    assert [*tmp_path.iterdir()] == [folder]
