"""A Llama model folder of Hugging Face as a GGUF of llama.cpp: weights in float32, byte-level BPE.

    python benchmarks/to_gguf.py MODEL OUT.gguf

Weights are rounded nowhere, so that llama.cpp's answers can be compared token for token; quantise
the file afterwards, with llama.cpp's own tool. Biases, scaled rotations and other tokenizers are
refused: llama.cpp's converter knows those.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from safetensors import safe_open

# Names of one layer's matrices: Hugging Face's, llama.cpp's.
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
# How texts are cut before they are merged: a sign of the tokenizer.json, llama.cpp's name of it.
CUTS = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|": "qwen2",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|": "llama-bpe",
}


def refuse(what: str) -> None:
    sys.exit(f"{what}: use llama.cpp's convert_hf_to_gguf.py")


def cut(spec: Mapping[str, Any]) -> str:
    """llama.cpp's name for the pre-tokeniser of a tokenizer.json."""
    before = spec["pre_tokenizer"]
    steps = before["pretokenizers"] if before["type"] == "Sequence" else [before]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"] and steps[0]["use_regex"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        for sign, name in CUTS.items():
            if steps[0]["pattern"].get("Regex", "").startswith(sign):
                return name
    refuse(f"a tokenizer that cuts texts by {kinds}")
    raise AssertionError


def describe(out: GGUFWriter, config: Mapping[str, Any], name: str) -> None:
    """The model's sizes."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if config["model_type"] != "llama" or config.get("attention_bias") or config.get("mlp_bias"):
        refuse(f"a model of type {config['model_type']}, or with biases")
    if rope.get("rope_type", "default") != "default":
        refuse(f"rotations scaled by {rope['rope_type']}")
    heads = config["num_attention_heads"]
    wide = config.get("head_dim") or config["hidden_size"] // heads
    out.add_name(name)
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(config.get("num_key_value_heads", heads))
    out.add_key_length(wide)
    out.add_value_length(wide)
    out.add_rope_dimension_count(wide)
    out.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta", 10000.0))
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_vocab_size(config["vocab_size"])
    out.add_file_type(0)  # all in float32


def tokenizer(out: GGUFWriter, folder: Path, config: Mapping[str, Any]) -> None:
    """Its pieces, merges and special ids, with unused ids for the rows that have no piece."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    if spec["model"]["type"] != "BPE" or spec["model"].get("byte_fallback"):
        refuse("a tokenizer that is no byte-level BPE")
    rows = config["vocab_size"]
    pieces = [f"[PAD{id_}]" for id_ in range(rows)]
    kinds = [TokenType.UNUSED] * rows
    for piece, id_ in spec["model"]["vocab"].items():
        pieces[id_], kinds[id_] = piece, TokenType.NORMAL
    for added in spec["added_tokens"]:
        pieces[added["id"]] = added["content"]
        special = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        kinds[added["id"]] = special
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(cut(spec))
    out.add_token_list(pieces)
    out.add_token_types(kinds)
    out.add_token_merges(merges)
    out.add_add_bos_token('"SpecialToken"' in json.dumps(spec["post_processor"]))
    file = folder / "generation_config.json"
    said = config | (json.loads(file.read_text()) if file.exists() else {})
    ends = said["eos_token_id"]
    ends = ends if isinstance(ends, list) else [ends]
    out.add_eos_token_id(ends[0])
    if len(ends) > 1:
        out.add_eot_token_id(ends[1])
    for kind, add in (("bos", out.add_bos_token_id), ("pad", out.add_pad_token_id)):
        if isinstance(said.get(f"{kind}_token_id"), int):
            add(said[f"{kind}_token_id"])
    template = folder / "chat_template.jinja"
    if template.exists():
        out.add_chat_template(template.read_text())


def names(config: Mapping[str, Any]) -> dict[str, str]:
    """What each matrix is called here, by what it is called there."""
    layers = range(config["num_hidden_layers"])
    named = {
        f"model.layers.{i}.{theirs}.weight": f"blk.{i}.{ours}.weight"
        for i in layers
        for theirs, ours in LAYER.items()
    }
    tied = config.get("tie_word_embeddings", False)  # llama.cpp takes the embedding for the head
    return {k: v for k, v in WHOLE.items() if not (tied and k == "lm_head.weight")} | named


def interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head (h, wide/2 twice) -> in pairs: llama.cpp rotates neighbours."""
    rows, columns = matrix.shape
    return (
        matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def matrices(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Every matrix in float32, one after the other."""
    heads = config["num_attention_heads"]
    turned = {"attn_q": heads, "attn_k": config.get("num_key_value_heads", heads)}
    wanted = names(config)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:  # numpy has no bfloat16
            for theirs in weights.keys():  # noqa: SIM118 (no mapping)
                ours = wanted.pop(theirs, None)
                if ours is None:
                    continue
                matrix = weights.get_tensor(theirs).float().numpy()
                kind = ours.split(".")[-2]
                yield ours, interleaved(matrix, turned[kind]) if kind in turned else matrix
    if wanted:
        refuse(f"a model without {next(iter(wanted))}")


def convert(folder: Path, out: Path) -> None:
    """Write `out`, whole or not at all.

    Matrices are read twice, so that only one of them is in memory at a time."""
    config = json.loads((folder / "config.json").read_text())
    part = out.with_name(f"{out.name}.part")
    writer = GGUFWriter(part, "llama")
    describe(writer, config, folder.name)
    tokenizer(writer, folder, config)
    for name, matrix in matrices(folder, config):
        writer.add_tensor_info(
            name, matrix.shape, matrix.dtype, matrix.nbytes, GGMLQuantizationType.F32
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, matrix in matrices(folder, config):
        writer.write_tensor_data(np.ascontiguousarray(matrix))
    writer.close()
    os.replace(part, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder of Hugging Face, adapters merged")
    parser.add_argument("out", type=Path, help="the GGUF to write")
    options = parser.parse_args()
    convert(options.model, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:,.0f} MiB in float32")


if __name__ == "__main__":
    main()
