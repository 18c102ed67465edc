"""`tascel serve` as a process: it says where it is, answers, and ends in good order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import openai
import pytest

COMMAND = [sys.executable, "-c", "from tascel.cli import main; main()", "serve"]


@pytest.fixture
def process(served_runner, served_folder, tmp_path):
    def run(*options, **environment):
        bundle = served_runner.bundle.path
        return subprocess.Popen(
            [*COMMAND, bundle, "--model", served_folder, "--port", "0", *options],
            stderr=subprocess.PIPE, text=True,
            env=os.environ | {"TASCEL_CACHE": str(tmp_path), "COLUMNS": "200"} | environment,
        )  # fmt: skip

    return run


def test_it_serves_until_it_is_told_to_end(process):
    server = process("--name", "lights", "--rows", "2", TASCEL_API_KEY="s3cret")
    with server:
        said = ""
        while not (found := re.search(r"lights at (http://\S+)", said)):
            line = server.stderr.readline()
            assert line, said
            said += line
        with openai.OpenAI(base_url=found[1], api_key="s3cret", max_retries=0) as client:
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
