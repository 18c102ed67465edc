"""`tascel profile` and `tascel serve` with the real vLLM: what one measures, the other finds."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tascel.builder import build
from tascel.engines.profile import read_price
from tascel.plugins.vllm.passes import WIDTHS

pytestmark = pytest.mark.vllm

TASCEL = [sys.executable, "-m", "tascel"]
FLAGS = ["--enforce-eager", "--dtype=float32", "--max-num-seqs=16"]


@pytest.fixture
def model(toy, tokenizer, tmp_path):
    """A toy with heads that are large enough for vLLM."""
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    lm = toy("Llama", hidden_size=128, intermediate_size=128, head_dim=32, eos_token_id=eos)
    lm.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def bundle(model, lamps, tmp_path):
    build(iter(lamps), model, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def environment(tmp_path):
    return os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        "TASCEL_CACHE": str(tmp_path / "cache"), "COLUMNS": "200",
    }  # fmt: skip


def test_what_is_measured_is_what_is_served_with(model, bundle, environment, tmp_path):
    profiled = subprocess.run(
        [*TASCEL, "profile", "-m", model, "--engine", "vllm", "--", *FLAGS],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert profiled.returncode == 0, profiled.stderr
    kept = next((tmp_path / "cache" / "prices").iterdir())
    assert str(kept) in profiled.stdout
    price, content = read_price(kept), json.loads(kept.read_text(encoding="utf-8"))
    assert list(price.rows) == list(WIDTHS)
    assert content["setting"]["runtime"].startswith("vllm 0.")
    assert content["setting"]["dtype"] == "float32"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*TASCEL, "serve", bundle, "-m", model, "--engine", "vllm", "--name", "toy",
               "--port", str(port), "--", *FLAGS]  # fmt: skip
    log = tmp_path / "serve.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        address = f"http://127.0.0.1:{port}"
        while True:
            assert server.poll() is None, log.read_text()[-6000:]
            try:
                with urllib.request.urlopen(f"{address}/v1/models") as reply:
                    models = json.loads(reply.read())["data"]
                break
            except OSError:
                time.sleep(0.5)
        assert [model["id"] for model in models] == ["toy"]
        body = {"model": "toy", "messages": [{"role": "user", "content": "light 3"}],
                "max_tokens": 64}  # fmt: skip
        texts = {ask(address, body) for _ in range(3)}
        assert len(texts) == 1  # greedy, as tascel serves unless told otherwise
        with urllib.request.urlopen(f"{address}/metrics") as reply:
            assert re.search(r"vllm:spec_decode_num_drafts_total\{", reply.read().decode())
    finally:
        server.terminate()
        server.wait()
    assert "was not measured" not in log.read_text()


def ask(address, body):
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request) as reply:
        return json.loads(reply.read())["choices"][0]["message"]["content"]
