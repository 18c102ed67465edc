"""What docs/extend/ promises beyond that its code runs."""

from __future__ import annotations

import re
import shutil

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pages import DOCS
from tascel.codec import Codec

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


@pytest.mark.parametrize("family", [byte_level, sentencepiece, unigram])
def test_families_pass_the_examination(family, toy_folder, tmp_path, monkeypatch):
    shutil.copytree(toy_folder, tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "extend" / "tokenizer.md").read_text(encoding="utf-8")
    names = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], names)
    tokenizer, trainer = family()
    trainer.show_progress = False
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    tokenizer.add_special_tokens(["<end>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    names["examine"](Codec.from_tokenizer(fast), TEXTS)


def test_a_family_that_loses_text_fails_it(toy_folder, tmp_path, monkeypatch):
    shutil.copytree(toy_folder, tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "extend" / "tokenizer.md").read_text(encoding="utf-8")
    names = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], names)
    tokenizer = Tokenizer(models.WordLevel({"turn": 0, "on": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<end>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    with pytest.raises(AssertionError, match="turn on the light"):
        names["examine"](Codec.from_tokenizer(fast), ["turn on the light"])
