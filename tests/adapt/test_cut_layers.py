"""Fewer layers of a model, saved as any other model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tascel.adapt.cut_layers import cut_layers
from tascel.codec import Codec
from tascel.engines.hf.load import load_model
from tascel.errors import ModelError


@pytest.fixture
def deep(toy: Any, tokenizer: Any, tmp_path: Path) -> Path:
    """A toy of five layers."""
    toy("Llama", num_hidden_layers=5).save_pretrained(tmp_path / "deep")
    tokenizer.save_pretrained(tmp_path / "deep")
    return tmp_path / "deep"


def test_first_middle_and_last_layer_are_kept_and_stock_transformers_reads_them(
    deep: Path, tmp_path: Path
) -> None:
    done = cut_layers(deep, 3, tmp_path / "small")
    assert (done.layers, done.layers_before) == ((0, 2, 4), 5)
    assert done.parameters < done.parameters_before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "small")
        whole = transformers.AutoModelForCausalLM.from_pretrained(deep)
    assert small.num_parameters() == done.parameters
    own, of = small.model, whole.model
    for at, layer in enumerate(done.layers):
        theirs = of.layers[layer].state_dict()
        assert all(torch.equal(w, theirs[n]) for n, w in own.layers[at].state_dict().items())
    assert torch.equal(small.lm_head.weight, whole.lm_head.weight)
    assert torch.equal(own.norm.weight, of.norm.weight)
    assert (
        Codec.from_pretrained(tmp_path / "small").fingerprint
        == Codec.from_pretrained(deep).fingerprint
    )
    assert len(load_model(tmp_path / "small").model.layers) == 3


def test_nothing_written_names_a_path_and_all_files_may_be_read(deep: Path, tmp_path: Path) -> None:
    cut_layers(deep, 2, tmp_path / "small")
    for file in (tmp_path / "small").glob("*.json"):
        assert str(tmp_path) not in file.read_text()
    facts = json.loads((tmp_path / "small" / "cut.json").read_text())
    assert (facts["base_model"], facts["layers"]) == ("deep", [0, 4])
    assert len({file.stat().st_mode for file in (tmp_path / "small").iterdir()}) == 1


def test_an_impossible_cut_and_a_used_folder_are_refused(deep: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="6 of 5 layers"):
        cut_layers(deep, 6, tmp_path / "small")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    with pytest.raises(ModelError, match="not an empty folder"):
        cut_layers(deep, 2, deep)
