"""`bridge` as typed."""

from __future__ import annotations

import json


def test_cut_says_what_it_kept(tascel, toy_folder, tmp_path):
    code, out, _ = tascel("bridge", "cut", toy_folder, "--layers", 1, "-o", tmp_path / "small")
    assert code == 0
    assert "layers 0 of 2" in out
    assert "answers badly until it is trained" in out
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_hidden_layers"] == 1
    code, _, err = tascel("bridge", "cut", toy_folder, "--layers", 3, "-o", tmp_path / "none")
    assert code == 1
    assert "3 of 2 layers" in err
