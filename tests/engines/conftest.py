"""Toy readers of three kinds, in folders."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?:;'\"{}[]-"


def llama(toy: Any, tokenizer: Any, folder: Path, **config: Any) -> Path:
    """A decoder of three layers with the byte tokenizer."""
    settings = {"hidden_size": 48, "num_hidden_layers": 3, "seed": 3, "num_attention_heads": 4}
    toy("Llama", **settings | config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def t5(folder: Path) -> Path:
    """An encoder-decoder with a Unigram tokenizer of letters and a few words."""
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    words = ["<pad>", "</s>", "<unk>", "▁", *LETTERS, "▁the", "lamp", "en"]
    tokenizer = Tokenizer(models.Unigram([(w, -1.0 - len(w) * 0.1) for w in words], 2, False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    config = T5Config(
        vocab_size=len(words), d_model=40, d_kv=10, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=0, initializer_factor=2.0,
    )  # fmt: skip
    return _saved(T5ForConditionalGeneration, config, folder)


def bert(folder: Path) -> Path:
    """An encoder of 64 positions with a WordPiece tokenizer that knows lower case only."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{c}" for c in LETTERS)]
    words += ["the", "lamp", "##en"]
    tokenizer = Tokenizer(
        models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip
    config = BertConfig(
        vocab_size=len(words), hidden_size=36, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return _saved(BertModel, config, folder)


def _saved(kind: Any, config: Any, folder: Path) -> Path:
    state = torch.random.get_rng_state()
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind(config).eval().save_pretrained(folder)
    torch.random.set_rng_state(state)
    return folder


@pytest.fixture(scope="session")
def larges(toy: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of large models by kind: "llama", "t5" and "bert"."""
    root = tmp_path_factory.mktemp("larges")
    return {
        "llama": llama(toy, tokenizer, root / "llama"),
        "t5": t5(root / "t5"),
        "bert": bert(root / "bert"),
    }
