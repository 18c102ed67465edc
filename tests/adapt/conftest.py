"""Tokenizers of every family that we change, trained here on a few made-up lines, and llama.cpp
with any of them.

Normaliser, pre-tokeniser, model and decoder are set as in the real ones.
"""

import json
import random
from urllib.request import Request, urlopen

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

VERBS = ("turn", "switch", "play", "set", "add", "SELECT", "don't", "we'll", "Öffne", "开启", "dim")
NOUNS = ("light", "lights", "the lamp", "playlist", "temperature", "名称", "größe", "café", "fan")
VALUES = (
    "12",
    "3.14",
    "2026-01-31",
    '"on"',
    "{}",
    "[1, 2]",
    "naïve",
    "日本語",
    "🙂",
    "a_b",
    "x=f(y)",
)


def sentences(count: int, seed: int) -> list[str]:
    """Prose, JSON and code about a household, in some scripts."""
    chance = random.Random(seed)
    made = list[str]()
    for _ in range(count):
        verb, noun, value = (chance.choice(kind) for kind in (VERBS, NOUNS, VALUES))
        made.append(
            chance.choice(
                (
                    f"{verb} {noun} to {value}, please\n",
                    json.dumps({"name": verb, "arguments": {noun: value}}, ensure_ascii=False),
                    f"def {verb}({noun}):\n\treturn {value}  # {noun}\r\n",
                    f"{noun}  is   {value}; {verb.upper()}! ({chance.randrange(10**6)})",
                )
            )
        )
    return made


def trained(model, trainer, **parts):
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(sentences(2000, seed=1), trainer)
    return tokenizer


def with_chatml(tokenizer):
    """Special tokens behind the vocabulary and not in it, as chat models have them."""
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CHATML])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=CHATML[2])
    fast.chat_template = TEMPLATE
    return fast


def byte_level(cut, whole=False, **parts):
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    parts |= {"pre_tokenizer": cut, "decoder": decoders.ByteLevel()}
    return with_chatml(trained(models.BPE(ignore_merges=whole), trainer, **parts))


def by_regex(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def qwen2():
    return byte_level(
        by_regex(f"{CONTRACTIONS}|{WORDS}|\\p{{N}}|{REST}"), normalizer=normalizers.NFC()
    )


def smollm():
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return byte_level(pre_tokenizers.Sequence([digits, words]))


def llama3():
    return byte_level(by_regex(f"{CONTRACTIONS}|{WORDS}|\\p{{N}}{{1,3}}|{REST}"), whole=True)


def sentencepiece(**parts):
    """BPE over whole texts; what is no piece is written in bytes. Special tokens come first."""
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=first, limit_alphabet=80, show_progress=False
    )
    model = models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    spec = json.loads(trained(model, trainer, **parts).to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]  # byte pieces are none
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def spaces_back(*more):
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more]
    )


def llama2():
    spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    return sentencepiece(
        normalizer=normalizers.Sequence(spaces), decoder=spaces_back(decoders.Strip(" ", 1, 0))
    )


def mistral():
    return sentencepiece(
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
        decoder=spaces_back(decoders.Strip(" ", 1, 0)),
    )


def gemma():
    return sentencepiece(
        normalizer=normalizers.Replace(" ", "▁"),
        pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
        decoder=spaces_back(),
    )


def unigram():
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=first, unk_token="<unk>", show_progress=False
    )
    clean = [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer = trained(
        models.Unigram(),
        trainer,
        normalizer=normalizers.Sequence(clean),
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="always"),
        decoder=decoders.Metaspace(prepend_scheme="always"),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


FAMILIES = {
    "Qwen2": (qwen2, "byte-level BPE"),
    "SmolLM": (smollm, "byte-level BPE"),
    "Llama 3": (llama3, "byte-level BPE, whole pieces first"),
    "Llama 2": (llama2, "SentencePiece BPE"),
    "Mistral": (mistral, "SentencePiece BPE"),
    "Gemma": (gemma, "SentencePiece BPE"),
    "XLM-R": (unigram, "Unigram"),
}


@pytest.fixture(scope="session", params=FAMILIES)
def family(request):
    """A tokenizer and what its family is called."""
    make, named = FAMILIES[request.param]
    return make(), named


@pytest.fixture(scope="session")
def lines():
    """`lines(count, seed)` are texts like those that the tokenizers were trained on."""
    return sentences


@pytest.fixture(scope="session")
def make():
    """`make("Qwen2")` is a tokenizer of that family."""
    return lambda name: FAMILIES[name][0]()


WIDTH = 32
# What a converter writes: the kind of tokenizer, and how texts are cut before.
KINDS = {
    "Qwen2": ("gpt2", "qwen2"),
    "SmolLM": ("gpt2", "smollm"),
    "Llama 3": ("gpt2", "llama-bpe"),
    "Llama 2": ("llama", "default"),
}


def write_gguf(tokenizer, path, kind, cut):
    """A GGUF of one random layer around the tokenizer."""
    from gguf import GGUFWriter, TokenType

    backend = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder()
    tokens = [backend.id_to_token(id_) for id_ in range(backend.get_vocab_size())]
    normal = {id_: TokenType.NORMAL for id_ in range(len(tokens))}
    if kind == "llama":
        vocabulary = backend.get_vocab()
        normal |= {vocabulary[f"<0x{byte:02X}>"]: TokenType.BYTE for byte in range(256)}
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


@pytest.fixture
def llama_cpp(tmp_path):
    """`llama_cpp(tokenizer, "Qwen2")` is llama.cpp's server with that tokenizer, to be asked."""

    def serve(tokenizer, name):
        path = tmp_path / f"{len([*tmp_path.glob('*.gguf')])}.gguf"
        write_gguf(tokenizer, path, *KINDS[name])
        return served(path)

    return serve


@pytest.fixture(
    params=[
        ("Qwen2", "Qwen2Tokenizer"),
        ("SmolLM", "GPT2Tokenizer"),
        ("Llama 2", "LlamaTokenizer"),
        ("Gemma", "GemmaTokenizer"),
    ],
    ids=lambda pair: pair[1],
)
def own_class(request, make, tmp_path):
    """A folder with a tokenizer whose class puts its parts together itself, and that class."""
    name, kind = request.param
    folder = tmp_path / "base"
    make(name).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": kind}))
    return folder, kind
