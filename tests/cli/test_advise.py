"""`tascel advise` and the caches of `tascel export --to llamacpp`, as a user types them."""

from __future__ import annotations

import json
import runpy
import shlex
import struct
from pathlib import Path

import pytest
from typer.main import get_command

from tascel import cli
from tascel.engines.hf.load import fingerprint
from tascel.engines.profile import Setting, keep_price, machine

TO_GGUF = Path(__file__).parents[2] / "benchmarks" / "to_gguf.py"


@pytest.fixture
def traces(tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "traces.jsonl"
    lines = [{"prompt": f"light {i}", "output": f'{{"on": {i % 3}}}'} for i in range(30)]
    file.write_text("\n".join([*map(json.dumps, lines), "no JSON"]))
    return file


def test_advise_shows_a_table_a_recommendation_and_what_is_missing(
    tascel, traces, toy_folder, tmp_path, monkeypatch
):
    ask = ("advise", traces, "--model", toy_folder, "--limit", "3", "--skip-bad")
    code, out, said = tascel(*ask)
    assert code == 0
    assert "Nothing was measured on this machine yet" in out
    assert f"tascel profile --model {toy_folder}" in out
    assert "traces.jsonl:31: not JSON" in said
    assert "kernels are compiled" not in said
    assert "30 traces, 30 of them answered; 27 learned from, 3 replayed" in out
    assert "tokens on average" in out
    assert "nothing to gain from new tokens" in out
    assert out.index("yours") < out.index("creative writing")  # among the paper's, by entropy
    assert out.index("1. Nothing was measured") < out.index("2. Build a bundle")
    assert "Note: Only 3 answers could be replayed" in out
    how = ("cpu", "float32", 2, "torch 2.13, packed", machine())
    monkeypatch.setattr("tascel.draft.kernels.__file__", str(tmp_path / "__init__.py"))
    setting = Setting("toy", fingerprint(toy_folder), *how)
    keep_price(setting, {1: {1: 10.0, 64: 20.0}}, 96)
    code, out, said = tascel(*ask, "--json", tmp_path / "advice.json")
    assert code == 0
    assert "kernels are compiled first" in said  # as if none had been kept
    found = json.loads((tmp_path / "advice.json").read_text())
    (line,) = found["engines"]
    assert "3 held-out answers" in out
    assert f"{line['plain_ms']:,.0f}" in out
    assert f"Take PyTorch, {toy_folder.name}, float32" in out
    assert f"tascel build {traces} --model {toy_folder} -o bundle" in out
    assert "without openvino:" in out
    for command in found["recommendation"]["commands"]:
        _, verb, *rest = shlex.split(command)
        get_command(cli.app).commands[verb].make_context(verb, rest)


def test_names_of_tasks_are_no_markup(tascel, traces, toy_folder):
    lines = [
        {"prompt": f"light {i}", "output": f"on {i % 3}", "task": f"[/b] [red]{i % 2}[/red]"}
        for i in range(60)
    ]
    traces.write_text("\n".join(map(json.dumps, lines)))
    code, out, _ = tascel("advise", traces, "--model", toy_folder, "--limit", "3")
    assert code == 0
    assert "[/b] [red]1[/red]" in out


def test_export_for_llama_cpp_refuses_another_vocabulary(tascel, traces, toy_folder, tmp_path):
    code, _, _ = tascel("build", traces, "--model", toy_folder, "-o", tmp_path / "b", "--skip-bad")
    assert code == 0
    gguf, out = tmp_path / "toy.gguf", tmp_path / "caches"
    runpy.run_path(str(TO_GGUF))["convert"](toy_folder, gguf)
    command = ("export", tmp_path / "b", "--to", "llamacpp", "-o", out)
    code, said, warned = tascel(*command)
    assert code == 0
    assert "--gguf does" in warned
    code, said, warned = tascel(*command, "--gguf", gguf)
    assert (code, warned) == (0, "")
    assert "30 answers" in said
    assert f"-lcs {out / 'static.bin'} -lcd {out / 'dynamic.bin'}" in said.replace("\n", " ")
    ngram = struct.unpack_from("=5i", (out / "static.bin").read_bytes())
    assert ngram[2:4] == (-1, -1)
    assert ngram[4] > 0
    gguf.write_bytes(gguf.read_bytes().replace(b"<|im_start|>", b"<|in_start|>"))
    before = (out / "static.bin").stat()
    code, _, warned = tascel(*command, "--gguf", gguf)
    assert code == 1
    assert "<|im_start|>" in warned
    assert (out / "static.bin").stat() == before
