"""`tascel mine` as typed."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "traces.jsonl"
    lines = [
        {"prompt": f"light {i}", "output": f'{{"device": "lamp", "level": {i % 7}}}'}
        for i in range(150)
    ] + [{"prompt": "not mine", "output": "zzzz zzzz zzzz", "split": "test"}] * 40
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_mine_shows_the_curve_the_tokens_and_what_was_refused(tascel, toy_folder, traces, tmp_path):
    numbers = tmp_path / "mined.json"
    code, out, _ = tascel(
        "mine", traces, "-m", toy_folder, "--new-tokens", 8, "--longest", 12, "--json", numbers
    )
    assert code == 0
    assert "On held-out outputs, by rows" in out
    assert "Refused: " in out
    assert "too long" in out
    assert "8 new tokens write 150 outputs" in out
    found = json.loads(numbers.read_text())
    assert found["settings"]["size"] == 8
    assert len(found["new_tokens"]) == 8
    assert all(len(token["ids"]) <= 12 for token in found["new_tokens"])
    assert not any("zz" in token["text"] for token in found["new_tokens"])
    assert [point["rows"] for point in found["curve"]] == [0, 8]
    assert found["tokens"]["shortest"] < found["tokens"]["base"]
    assert found["refused"]["too long"] == len(found["most_refused"])


def test_mine_needs_no_weights_and_decides_itself(tascel, toy_folder, traces, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(toy_folder, model, ignore=shutil.ignore_patterns("*.safetensors"))
    code, out, _ = tascel("mine", traces, "-m", model, "--words")
    assert code == 0
    assert "new tokens write 150 outputs" in out


def test_mine_says_when_there_is_nothing_to_gain(tascel, toy_folder, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"q{i}", "output": "y"}) for i in range(5)))
    code, out, err = tascel("mine", path, "-m", toy_folder)
    assert code == 0
    assert "nothing to gain from new tokens" in err
    assert "0 new tokens" in out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--new-tokens", "many"), 2, "neither a number nor auto"),
        (("--n-max", 1), 1, "n_max must be 2 or more"),
        (("--collision", "none"), 1, "collision must be"),
        (("-m", "./nowhere"), 1, "no tokenizer can be loaded"),
    ],
)
def test_mine_refuses_bad_input(tascel, toy_folder, traces, options, code, message):
    ended, _, err = tascel("mine", traces, "-m", toy_folder, *options)
    assert ended == code
    assert message in err


def test_mine_without_training_traces(tascel, toy_folder, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text(json.dumps({"prompt": "q", "output": "y", "split": "test"}))
    code, _, err = tascel("mine", path, "-m", toy_folder)
    assert code == 1
    assert "no trace has an answer to mine" in err
