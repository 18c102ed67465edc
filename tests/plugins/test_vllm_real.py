"""The real vLLM with the bundle's drafts, against itself without: a toy model in float32."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tascel.builder import build
from tascel.plugins.vllm import launch
from tascel.types import Trace

pytestmark = pytest.mark.vllm

CHILD = Path(__file__).with_name("vllm_child.py")
SCHEMA = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}, "level": {"enum": [1, 2, 3]}},
    "required": ["on", "level"],
    "additionalProperties": False,
}
MOST = 8
#: Small on purpose: prompts are read in pieces, and sixteen requests do not fit at once.
ENGINE = {
    "dtype": "float32",
    "max_model_len": 192,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 96,
    "num_gpu_blocks_override": 30,
    "block_size": 32,
    "enforce_eager": True,
    "seed": 0,
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}
GREEDY = {"temperature": 0, "max_tokens": 48}
WHICH = ("draft", "accepted")
#: Sampled answers of one prompt, drawn with and without drafts.
DRAWN = 1500


@pytest.fixture(scope="module")
def model(tmp_path_factory, toy, tokenizer):
    """A toy that writes ASCII only, so that its answers can be traces."""
    import torch

    folder = tmp_path_factory.mktemp("vllm") / "model"
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    lm = toy("Llama", hidden_size=128, intermediate_size=128, head_dim=32, eos_token_id=eos)
    vocabulary = tokenizer.get_vocab()
    plain = [i for piece, i in vocabulary.items() if len(piece) == 1 and 33 <= ord(piece) < 127]
    with torch.no_grad():
        keep = torch.zeros(lm.config.vocab_size, 1)
        keep[[*plain, eos]] = 0.2
        lm.lm_head.weight *= keep
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prompts(tokenizer):
    """Forty questions, of which the first twenty are what the bundle has learned from."""
    turns = [f"turn {'on' if i % 2 else 'off'} the light in room {i}" for i in range(40)]
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": turn}], add_generation_prompt=True, return_dict=False
        )
        for turn in turns
    ]


@pytest.fixture(scope="module")
def batches(prompts):
    long = [[*prompts[0], *prompts[1] * 3][:n] for n in (140, 150, 184)]
    greedy = [{"prompts": prompts[:n], "params": GREEDY} for n in (1, 4, 40)]
    return {
        "one": greedy[0],
        "four": greedy[1],
        "all": greedy[2],
        "near the end": {"prompts": [*long, *prompts[:4]], "params": {**GREEDY, "max_tokens": 90}},
        "twins": {"prompts": [prompts[3]] * 6, "params": GREEDY},
        "penalties": {
            "prompts": prompts[:8], "params": {**GREEDY, "repetition_penalty": 1.3, "stop": ["a"]},
        },
        "schema": {"prompts": prompts[:8], "params": GREEDY, "schema": SCHEMA},
        "sampled": {
            "prompts": [prompts[0]] * (DRAWN // 3),
            "params": {"temperature": 0.3, "top_p": 0.95, "max_tokens": 4, "n": 3},
        },
    }  # fmt: skip


def environment(tmp_path):
    return os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two ranks on one node
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "HF_HUB_OFFLINE": "1",
        "TASCEL_CACHE": str(tmp_path / "cache"),
    }


def run(tmp_path, model, batches, **engine):
    """What a vLLM of its own answers; fails with the end of its log."""
    job, answers = tmp_path / "job.json", tmp_path / "answers.json"
    job.write_text(json.dumps({"engine": {"model": str(model), **ENGINE, **engine},
                               "batches": list(batches.values())}))  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(CHILD), str(job), str(answers)],
        env=environment(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    return dict(zip(batches, json.loads(answers.read_text()), strict=True))


def speculation(bundle, **options):
    return {
        "speculative_config": {
            "method": "custom_class",
            "model": "tascel.plugins.vllm.Proposer",
            "num_speculative_tokens": MOST,
        },
        "additional_config": {"tascel": {"bundle": str(bundle), **options}},
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory, model, batches):
    return run(tmp_path_factory.mktemp("plain"), model, batches)


@pytest.fixture(scope="module")
def price(tmp_path_factory):
    """Passes that cost next to nothing more when they are wider: all is offered."""
    file = tmp_path_factory.mktemp("price") / "price.json"
    ms = {rows: {rows * width: 1 + 1e-6 * width for width in (1, 64)} for rows in (1, 16)}
    file.write_text(json.dumps({"ms": ms}))
    return file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, model, plain, prompts):
    """What the model itself said to half of the prompts, and to a schema."""
    texts = [(i, text) for i, (text,) in enumerate(plain["all"]["texts"][:20])]
    texts += [(i, text) for i, (text,) in enumerate(plain["schema"]["texts"])]
    traces = []
    for i, text in texts:
        turn = {"role": "user", "content": f"turn {'on' if i % 2 else 'off'} the light in room {i}"}
        traces.append(Trace((turn,), {"role": "assistant", "content": text}))
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    build(traces, model, folder)
    return folder


@pytest.fixture(scope="module")
def drafted(tmp_path_factory, model, batches, bundle, price):
    folder = tmp_path_factory.mktemp("drafted")
    return run(folder, model, batches, **speculation(bundle, price=str(price)))


@pytest.mark.parametrize(
    "name", ["one", "four", "all", "near the end", "twins", "penalties", "schema"]
)
def test_greedy_answers_are_those_without_drafts(plain, drafted, name):
    assert drafted[name]["answers"] == plain[name]["answers"]
    counters = drafted[name]["counters"]
    assert counters["spec_decode_num_accepted_tokens"] > 0
    if name == "all":
        refused = (
            counters["spec_decode_num_draft_tokens"] - counters["spec_decode_num_accepted_tokens"]
        )
        assert refused > 0


def test_two_ranks_of_a_tensor_parallel_engine_draft_alike(tmp_path, model, batches, bundle, price):
    """Each rank drafts for itself: if they came to different drafts, they would wait for each other
    forever, or answer something else."""
    some = {name: batches[name] for name in ("four", "all")}
    two = {"tensor_parallel_size": 2}
    alone = run(tmp_path, model, some, **two)
    together = run(tmp_path, model, some, **two, **speculation(bundle, price=str(price)))
    for name, found in together.items():
        assert found["answers"] == alone[name]["answers"]
        assert found["counters"]["spec_decode_num_accepted_tokens"] > 0


def test_each_request_is_told_apart_however_it_is_scheduled(drafted, batches):
    for name in ("one", "four", "all", "twins", "schema"):
        batch = batches[name]
        assert drafted[name]["opened"] == len(batch["prompts"])
    assert drafted["all"]["counters"]["num_preemptions"] > 0


def test_a_schema_is_kept_to(drafted):
    for (text,) in drafted["schema"]["texts"]:
        assert sorted(json.loads(text)) == ["level", "on"]


def test_sampled_answers_are_distributed_alike(plain, drafted):
    first, second = (
        Counter(tuple(said) for answers in found["sampled"]["answers"] for said in answers)
        for found in (plain, drafted)
    )
    assert sum(first.values()) == sum(second.values()) == DRAWN
    assert drafted["sampled"]["counters"]["spec_decode_num_accepted_tokens"] > 0
    # two samples of one distribution: chi-squared over what is frequent, the rest together
    often = [said for said, times in (first + second).items() if times >= 20]
    assert len(often) > 3
    table = np.array([[found[said] for said in often] for found in (first, second)], float)
    table = np.concatenate([table, DRAWN - table.sum(axis=1, keepdims=True)], axis=1)
    expected = table.sum(axis=0) / 2
    counted = expected > 0
    statistic = float((((table - expected) ** 2)[:, counted] / expected[counted]).sum())
    degrees = int(counted.sum()) - 1
    assert statistic < degrees + 5 * np.sqrt(2 * degrees)


def test_a_foreign_bundle_is_refused_at_the_start(tmp_path, model, bundle, toy, tokenizer):
    foreign = tmp_path / "foreign"
    toy("Llama", vocab_size=280).save_pretrained(foreign)
    tokenizer.save_pretrained(foreign)
    other = type(tokenizer).from_pretrained(foreign)
    other.add_tokens(["light"])
    other.save_pretrained(foreign)
    traces = [
        Trace(({"role": "user", "content": f"{i}"},), {"role": "assistant", "content": f"{i}!"})
        for i in range(12)
    ]
    build(traces, foreign, tmp_path / "foreign-bundle")
    job = tmp_path / "job.json"
    engine = {"model": str(model), **ENGINE, **speculation(tmp_path / "foreign-bundle")}
    job.write_text(json.dumps({"engine": engine, "batches": []}))
    done = subprocess.run(
        [sys.executable, str(CHILD), str(job), str(tmp_path / "answers.json")],
        env=environment(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "was built with the tokenizer of foreign, which writes other ids" in done.stderr


@contextmanager
def serving(tmp_path, model, bundle):
    """`vllm serve` on a free port: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = {
        "dtype": "float32", "max-model-len": "192", "max-num-seqs": "16", "port": str(port),
        "host": "127.0.0.1", "served-model-name": "toy",
        "structured-outputs-config": json.dumps(ENGINE["structured_outputs_config"]),
    }  # fmt: skip
    given = [part for name, value in flags.items() for part in (f"--{name}", value)]
    command = launch.serving(bundle, str(model), ["--enforce-eager", *given])
    log = (tmp_path / "serve.log").open("w+")
    server = subprocess.Popen(command, env=environment(tmp_path), stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, (tmp_path / "serve.log").read_text()[-6000:]
            try:
                urllib.request.urlopen(f"{address}/health").close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()
        log.close()


def metric(address, name):
    with urllib.request.urlopen(f"{address}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{"))


def test_a_server_under_a_client(tmp_path, model, bundle, plain):
    from openai import OpenAI

    turns = [f"turn {'on' if i % 2 else 'off'} the light in room {i}" for i in range(16)]
    texts = [text for (text,) in plain["all"]["texts"]]
    with serving(tmp_path, model, bundle) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none")

        def ask(turn, **more):
            messages = [{"role": "user", "content": turn}]
            return client.chat.completions.create(
                model="toy", messages=messages, temperature=0, max_tokens=48, **more
            )

        said: dict[int, str] = {}

        def stream(i):
            pieces = ask(turns[i], stream=True)
            said[i] = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)

        def abort(i):
            pieces = ask(turns[i], stream=True)
            next(iter(pieces))
            pieces.close()

        asking = [threading.Thread(target=stream, args=(i,)) for i in range(16)]
        asking += [threading.Thread(target=abort, args=(i,)) for i in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert [said[i] for i in range(16)] == texts[:16]
        assert [ask(turn).choices[0].message.content for turn in turns[:3]] == texts[:3]
        shape = {"type": "json_schema", "json_schema": {"name": "light", "schema": SCHEMA}}
        answer = ask(turns[1], response_format=shape).choices[0].message.content
        assert sorted(json.loads(answer)) == ["level", "on"]
        accepted = metric(address, "vllm:spec_decode_num_accepted_tokens_total")
        assert 0 < accepted < metric(address, "vllm:spec_decode_num_draft_tokens_total")
        assert metric(address, "vllm:request_success_total") >= 20
