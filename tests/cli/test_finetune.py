"""`finetune` and `assets` as typed: what they print, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tascel import assets
from tascel.cli import app
from tascel.codec import Codec
from tascel.demo import household


def test_finetune_learns_the_training_split_only(toy_folder: Path, tmp_path: Path) -> None:
    lines = [
        {"prompt": f"light {i}", "output": "on", **({"split": split} if split else {})}
        for i, split in enumerate(["train", None, "test", "valid", "train"])
    ]
    traces = tmp_path / "traces.jsonl"
    text = "\n".join(map(json.dumps, lines)) + "\nno json\n"
    traces.write_text(text + json.dumps({"prompt": "x" * 2000, "output": "long"}))
    output = tmp_path / "adapter"
    arguments = ["finetune", str(traces), "--model", str(toy_folder), "-o", str(output)]
    ran = CliRunner().invoke(app, [*arguments, "--steps", "2", "--rank", "2", "--skip-bad"])
    assert ran.exit_code == 0, ran.output
    assert "2 steps over 3 traces" in ran.stdout
    assert "left out 1 bad record" in ran.stderr
    assert "left out 1 longer than 1,024 tokens" in ran.stderr
    settings = json.loads((output / "training.json").read_text())["settings"]
    assert (settings["rank"], settings["alpha"], settings["steps"]) == (2, 4, 2)


def test_new_tokens_are_a_number_or_auto(toy_folder: Path, tmp_path: Path) -> None:
    lines = [{"prompt": f"light {i}", "output": f"switch {i % 3}"} for i in range(120)]
    traces = tmp_path / "traces.jsonl"
    traces.write_text("\n".join(map(json.dumps, lines)))
    output = tmp_path / "model"
    arguments = ["finetune", str(traces), "--model", str(toy_folder), "-o", str(output)]
    arguments += ["--steps", "4", "--evaluate-every", "2", "--batch", "4"]
    refused = CliRunner().invoke(app, [*arguments, "--new-tokens", "some"])
    assert refused.exit_code == 2
    assert "neither a number nor auto" in refused.output
    ran = CliRunner().invoke(app, [*arguments, "--new-tokens", "3"])
    assert ran.exit_code == 0, ran.output
    assert "3 new tokens" in ran.stderr
    assert ran.stderr.count("loss") == 2
    assert "kept step" in ran.stdout
    facts = json.loads((output / "training.json").read_text())
    assert (facts["new_tokens"], facts["settings"]["new_tokens"]) == (3, 3)
    assert facts["examples"] < 120  # some are held out


def test_what_was_mined_is_trained(toy_folder: Path, tmp_path: Path) -> None:
    traces, mined = tmp_path / "traces.jsonl", tmp_path / "mined.json"
    lines = [{"prompt": f"light {i}", "output": f"switch {i % 3}"} for i in range(120)]
    traces.write_text("\n".join(map(json.dumps, lines)))
    asked = [str(traces), "--model", str(toy_folder)]
    options = ["--new-tokens", "5", "--longest", "4", "--json", str(mined)]
    assert CliRunner().invoke(app, ["mine", *asked, *options]).exit_code == 0
    output = tmp_path / "model"
    arguments = ["finetune", *asked, "-o", str(output), "--steps", "1", "--batch", "4"]
    ran = CliRunner().invoke(
        app, [*arguments, "--new-tokens", str(mined), "--init", "directional", "--valid", "0"]
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(mined.read_text())
    runs = Codec.from_pretrained(output).new_tokens.runs.values()
    assert [*runs] == [tuple(token["ids"]) for token in found["new_tokens"]]

    for content, message in (
        ({**found, "tokenizer": "another"}, "another tokenizer"),
        ({"new_tokens": 5}, "does not hold new tokens"),
    ):
        mined.write_text(json.dumps(content))
        refused = CliRunner().invoke(app, [*arguments, "--new-tokens", str(mined)])
        assert refused.exit_code == 1
        assert message in str(refused.exception)


def test_assets_prints_the_path_alone_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))

    def smollm2(say: assets.Say) -> Path:
        say("Downloading")
        return tmp_path / "model"

    def write(path: Path, say: assets.Say) -> int:
        say("Downloading")
        return 0

    monkeypatch.setattr(assets, "smollm2", smollm2)
    monkeypatch.setattr(household, "write", write)
    model, task = (CliRunner().invoke(app, ["assets", name]) for name in ("smollm2", "household"))
    assert model.stdout.strip() == str(tmp_path / "model")
    assert model.stderr.strip() == "Downloading"
    assert Path(task.stdout.strip()).name == "home_assistant.jsonl"
    assert CliRunner().invoke(app, ["assets", "other"]).exit_code == 2
