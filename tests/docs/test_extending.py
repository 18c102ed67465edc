"""What docs/extend/ promises beyond that its code runs."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pages import DOCS
from tascel.codec import Codec
from tascel.decode.loop import complete, decode
from tascel.draft.price import Price
from tascel.types import Request

TEXTS = ['{"room": "den", "on": true}', "turn on the light", "a lamp, 12 times"]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)


def sentencepiece():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.BpeTrainer(vocab_size=120)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=100, unk_token="<unk>", special_tokens=["<unk>"]
    )


@pytest.fixture
def code(toy_folder, tmp_path, monkeypatch):
    """`code("engine")` is what the page's first block defines, in a folder with `my-model/`."""
    shutil.copytree(toy_folder, tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)

    def of(name: str) -> dict:
        page = (DOCS / "extend" / f"{name}.md").read_text(encoding="utf-8")
        names: dict = {}
        exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], names)
        return names

    return of


@pytest.mark.parametrize("family", [byte_level, sentencepiece, unigram])
def test_families_pass_the_examination(family, code):
    tokenizer, trainer = family()
    trainer.show_progress = False
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    tokenizer.add_special_tokens(["<end>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    code("tokenizer")["examine"](Codec.from_tokenizer(fast), TEXTS)


def test_a_family_that_loses_text_fails_it(code):
    tokenizer = Tokenizer(models.WordLevel({"turn": 0, "on": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<end>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    with pytest.raises(AssertionError, match="turn on the light"):
        code("tokenizer")["examine"](Codec.from_tokenizer(fast), ["turn on the light"])


@pytest.mark.parametrize("seed", range(6))
def test_the_engine_of_the_page_answers_the_same_whatever_is_drafted(
    seed, code, toy, oracle_draft, byte_stream
):
    engine = code("engine")["WholeEngine"](toy("Llama", seed=seed), {271})
    request = Request("r", np.arange(7, 19, dtype=np.int32), max_tokens=20)
    price = Price.free()
    plain = complete(decode(engine, None, request, price, byte_stream()))
    draft = oracle_draft(plain.tokens, seed, skill=0.7, vocab_size=272)
    drafted = complete(decode(engine, draft, request, price, byte_stream()))
    assert drafted.tokens == plain.tokens
    assert drafted.stats.accepted
    assert engine.fits(engine.cache_tokens)  # all rows are closed
