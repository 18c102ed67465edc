"""`tascel tailor` as typed."""

from __future__ import annotations

import json
import shutil

import pytest

from tascel.bundle import Bundle
from tascel.codec import Codec


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    path = tmp_path_factory.mktemp("tailor") / "traces.jsonl"
    lines = [
        {"prompt": f"light {i}", "output": f'{{"the thing": "lamp", "level": {i % 7}}}'}
        for i in range(40)
    ] + [{"prompt": "unseen", "output": "on on", "split": "test"}] * 40
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.fixture
def built(tascel, toy_folder, traces, tmp_path):
    path = tmp_path / "bundle"
    assert tascel("build", traces, "-m", toy_folder, "-o", path)[0] == 0
    return path


def test_tailor_shows_what_it_would_do_and_needs_no_weights(tascel, toy_folder, traces, tmp_path):
    model, numbers = tmp_path / "model", tmp_path / "tailored.json"
    shutil.copytree(toy_folder, model, ignore=shutil.ignore_patterns("*.safetensors"))
    code, out, _ = tascel("tailor", traces, "-m", model, "--json", numbers)
    assert code == 0
    assert "Of 272 rows, by tolerance" in out
    assert "from 40 traces" in out
    found = json.loads(numbers.read_text())
    assert found["filters"] == {"input_aware": True, "scripts": True, "tolerance": 0.01}
    assert found["rows"] == next(p["rows"] for p in found["curve"] if p["tolerance"] == 0.01)
    assert found["model"]["rows"] == 272
    assert all(0 < point["step"] < 1 for point in found["curve"])
    code, out, _ = tascel(
        "tailor", traces, "-m", model, "--no-input-aware", "--no-scripts",
        "--tolerance", 0, "--json", numbers,
    )  # fmt: skip
    more = json.loads(numbers.read_text())
    assert more["filters"] == {"input_aware": False, "scripts": False, "tolerance": 0}
    assert more["rows"] >= found["rows"]


def test_tailor_stores_the_selection(tascel, toy_folder, traces, built):
    code, out, _ = tascel("tailor", traces, "-m", toy_folder, "--bundle", built)
    assert code == 0
    assert "stored in" in out
    codec = Codec.from_pretrained(toy_folder)
    selection = Bundle.open(built, codec).selection
    assert selection is not None
    assert selection.traces == 40
    assert set(codec.output('{"level": 3}').tolist()) <= {
        *selection.ids.tolist(),
        *codec.prompt("light 1").tolist(),
    }
    assert tascel("check", built)[0] == 0


def test_tailor_writes_a_smaller_model(tascel, toy_folder, traces, tmp_path):
    small, numbers = tmp_path / "small", tmp_path / "tailored.json"
    code, out, _ = tascel("tailor", traces, "-m", toy_folder, "-o", small, "--json", numbers)
    assert code == 0
    assert "40 of 40 traces are encoded as before" in " ".join(out.split())
    exported = json.loads(numbers.read_text())["exported"]
    assert exported["rows"] < exported["rows_before"] == 272
    assert tascel("build", traces, "-m", small, "-o", tmp_path / "bundle")[0] == 0
    code, _, err = tascel("tailor", traces, "-m", toy_folder, "-o", small)
    assert code == 1
    assert "not an empty folder" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tolerance", -1), "bad tolerance"),
        (("-m", "./nowhere"), "no tokenizer can be loaded"),
        (("--bundle", "./nowhere"), "no such bundle"),
    ],
)
def test_tailor_refuses_bad_input(tascel, toy_folder, traces, options, message):
    code, out, err = tascel("tailor", traces, "-m", toy_folder, *options)
    assert code == 1
    assert message in err
    assert not out


def test_a_bundle_of_another_tokenizer_is_refused(tascel, toy_folder, traces, built, tmp_path):
    small = tmp_path / "small"
    assert tascel("tailor", traces, "-m", toy_folder, "-o", small)[0] == 0
    code, _, err = tascel("tailor", traces, "-m", small, "--bundle", built)
    assert code == 1
    assert "other ids" in err
    assert Bundle.open(built).selection is None


def test_tailor_without_training_traces(tascel, toy_folder, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text(json.dumps({"prompt": "q", "output": "y", "split": "test"}))
    code, _, err = tascel("tailor", path, "-m", toy_folder)
    assert code == 1
    assert "no trace has an answer to select from" in err
