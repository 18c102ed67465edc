"""`tascel serve` as a process: it says where it is, answers, and ends in good order."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys

import httpx
import openai
import pytest

from tascel import cli
from tascel.bundle import Bundle

COMMAND = [sys.executable, "-c", "from tascel.cli import main; main()", "serve"]


@pytest.fixture
def process(served_runner, served_folder, tmp_path):
    def run(*options, bundles=(served_runner.bundle.path,), **environment):
        return subprocess.Popen(
            [*COMMAND, *bundles, "--model", served_folder, "--port", "0", *options],
            stderr=subprocess.PIPE, text=True,
            env=os.environ | {"TASCEL_CACHE": str(tmp_path), "COLUMNS": "200"} | environment,
        )  # fmt: skip

    return run


def started(server):
    """Where a server called lights is, and what it said until it told."""
    said = ""
    while not (found := re.search(r"lights at (http://\S+)", said)):
        line = server.stderr.readline()
        assert line, said
        said += line
    return found[1], said


def test_it_serves_until_it_is_told_to_end(process):
    server = process("--name", "lights", "--rows", "2", TASCEL_API_KEY="s3cret")
    with server:
        url, said = started(server)
        page = re.search(r"try it at (\S+)", server.stderr.readline())[1]
        assert httpx.get(page).status_code == 200
        assert httpx.get(f"{url}/samples").status_code == 401
        with openai.OpenAI(base_url=url, api_key="s3cret", max_retries=0) as client:
            messages = [{"role": "user", "content": "light"}]
            reply = client.chat.completions.create(model="lights", messages=messages, max_tokens=4)
            assert reply.usage.completion_tokens == 4
        server.send_signal(signal.SIGTERM)
        said += server.stderr.read()
    assert server.returncode == 0, said
    assert "Traceback" not in said


def test_an_address_that_is_taken_is_said_before_a_model_is_loaded(live, process):
    with process("--port", live.url.rpartition(":")[2]) as server:
        said = server.stderr.read()
    assert server.returncode == 1
    assert "already in use" in said


def test_what_tenants_taught_it_is_written_down_when_it_ends(
    process, served_runner, tokenizer, tmp_path
):
    for name in ("acme", "zoo"):
        shutil.copytree(served_runner.bundle.path, tmp_path / name)
    (tmp_path / "keys").write_text("zoo zoo-key", encoding="utf-8")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    bias = {str(id_): 100 for id_ in (tokenizer.convert_tokens_to_ids("Q"), end)}
    with process(
        "--tenant", f"acme={tmp_path / 'acme'}", "--tenant", f"zoo={tmp_path / 'zoo'}",
        "--tenant-keys", tmp_path / "keys", "--name", "lights", "--learn",
        "--no-page",
        bundles=(), TASCEL_API_KEY_ACME="acme-key",
    ) as server:  # fmt: skip
        url, said = started(server)
        assert httpx.get(url.removesuffix("v1")).status_code == 404
        head = {"Authorization": "Bearer acme-key"}
        assert httpx.get(f"{url}/samples", headers=head).json()["data"] == []
        for key, count in (("acme-key", 2), ("zoo-key", 1)):
            with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
                for at in range(count):
                    reply = client.chat.completions.create(
                        model="lights", messages=[{"role": "user", "content": f"{key} {at}"}],
                        max_tokens=100, logit_bias=bias, frequency_penalty=2,
                    )  # fmt: skip
                    assert reply.choices[0].finish_reason == "stop"
        server.send_signal(signal.SIGTERM)
        said += server.stderr.read()
    assert server.returncode == 0, said
    assert "Traceback" not in said
    assert "-key" not in said
    assert "try it" not in said
    before = len(served_runner.bundle.records())
    for name, count in (("acme", 2), ("zoo", 1)):
        bundle = Bundle.open(tmp_path / name)
        assert bundle.learned_files
        records = bundle.records()
        assert len(records) == before + count
        prompts = [tokenizer.decode(records.prompts[at]) for at in range(len(records))]
        assert sum("-key" in prompt for prompt in prompts) == count
        assert sum(f"{name}-key" in prompt for prompt in prompts) == count


@pytest.mark.parametrize(
    ("options", "told"),
    [([], "nothing to draft with"),
     (["b", "--tenant", "a=b"], "the bundle once"),
     (["--tenant", "a=b"], "tenant a has no key"),
     (["--tenant", "a=b", "--tenant", "a=c"], "twice"),
     (["b", "--tenant-keys", "k"], "without --tenant"),
     (["--tenant", "a=b", "--engine", "vllm"], "vLLM serves one bundle"),
     (["b", "--learn-days", "3"], "no --learn")],
)  # fmt: skip
def test_options_that_cannot_be(options, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tascel", "serve", *options, "--model", "m", "--port", "0"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert told in " ".join(capsys.readouterr().err.split())
