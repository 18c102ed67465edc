"""After conversion to GGUF, llama.cpp reads prompts as before and writes new tokens out in full.

Needs xllamacpp, a build of llama.cpp: run with `make test-peers`.
"""

import json
import random
from itertools import pairwise
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tascel.adapt.tokens.vocabulary import Vocabulary

pytestmark = pytest.mark.peers

WIDTH = 32
# What a converter writes: the kind of tokenizer, and how texts are cut before.
KINDS = {
    "Qwen2": ("gpt2", "qwen2"),
    "SmolLM": ("gpt2", "smollm"),
    "Llama 3": ("gpt2", "llama-bpe"),
    "Llama 2": ("llama", "default"),
}


def write(tokenizer, path, kind, cut):
    """A GGUF of one random layer around the tokenizer."""
    from gguf import GGUFWriter, TokenType

    backend = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder()
    tokens = [backend.id_to_token(id_) for id_ in range(backend.get_vocab_size())]
    normal = {id_: TokenType.NORMAL for id_ in range(len(tokens))}
    if kind == "llama":
        normal |= {3 + byte: TokenType.BYTE for byte in range(256)}
    types = [TokenType.CONTROL if id_ in added else normal[id_] for id_ in normal]
    shapes = {"token_embd": (len(tokens), WIDTH), "output": (len(tokens), WIDTH)}
    shapes |= {"output_norm": (WIDTH,), "blk.0.attn_norm": (WIDTH,), "blk.0.ffn_norm": (WIDTH,)}
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{name}": (WIDTH, WIDTH) for name in square}
    out = GGUFWriter(path, "llama")
    out.add_context_length(512)
    out.add_embedding_length(WIDTH)
    out.add_block_count(1)
    out.add_feed_forward_length(WIDTH)
    out.add_head_count(2)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // 2)
    out.add_tokenizer_model(kind)
    out.add_tokenizer_pre(cut)
    out.add_token_list(tokens)
    out.add_token_types(types)
    if kind == "gpt2":
        merges = json.loads(backend.to_str())["model"]["merges"]
        out.add_token_merges([" ".join(merge) for merge in merges])
    else:  # pieces in the order of their merges
        out.add_token_scores([-float(id_) for id_ in range(len(tokens))])
    out.add_bos_token_id(tokenizer.eos_token_id)
    out.add_eos_token_id(tokenizer.eos_token_id)
    out.add_add_bos_token(False)
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        out.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def served(path):
    """Ask llama.cpp's server for one model: `ask("/tokenize", {…})`."""
    from xllamacpp import CommonParams, Server

    settings = CommonParams()
    settings.model.path, settings.n_ctx, settings.port = str(path), 256, 0
    server = Server(settings)

    def ask(where, content):
        body = json.dumps(content).encode()
        request = Request(server.listening_address + where, body)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    return ask


@pytest.mark.parametrize("name", KINDS)
def test_llama_cpp_reads_and_writes_the_same(make, lines, tmp_path, name):
    base, chance = make(name), random.Random(0)
    vocabulary, texts = Vocabulary(base), lines(400, 6)
    encoded = [e.ids for e in base.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    runs = {
        tuple(ids[at : at + size]): None
        for ids in encoded
        for at, size in [(chance.randrange(len(ids)), chance.randint(2, 6))]
    }
    runs = [run for run in runs if len(run) > 1 and vocabulary.refuse(run) is None]
    assert len(runs) > 100
    extended, new = vocabulary.extend(runs)
    write(base, tmp_path / "base.gguf", *KINDS[name])
    write(extended, tmp_path / "extended.gguf", *KINDS[name])
    before, after = served(tmp_path / "base.gguf"), served(tmp_path / "extended.gguf")
    written = [base.decode(run) for run in new.runs.values()]
    probes = [*texts, *written, *map("".join, pairwise(written))]
    for text in probes:
        asked = {"content": text, "parse_special": False}
        assert after("/tokenize", asked) == before("/tokenize", asked)
    for id_, run in new.runs.items():
        whole = after("/detokenize", {"tokens": [id_]})
        assert whole == after("/detokenize", {"tokens": list(run)})
