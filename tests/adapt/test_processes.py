"""Training as its own process: killed and resumed, and shared by two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tascel.engines.hf.load import load_model

STEPS = ("--steps", "30", "--evaluate-every", "2", "--batch", "4", "--lr", "0.01", "--rank", "2")
DEADLINE = 120  # seconds


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    words = ["in", "on", "the", "lin", "thin", "then", "lion", "tin"] * 3
    lines = [
        {"prompt": f"say {w}", "output": w * 2, "split": "train" if at < 16 else "valid"}
        for at, w in enumerate(words)
    ]
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def finetune(traces: Path, model: Path, out: Path, *options: str) -> list[str]:
    arguments = ["finetune", str(traces), "--model", str(model), "-o", str(out)]
    return ["-m", "tascel", *arguments, *STEPS, "--adapter-only", *options]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_killed_at_any_moment_it_goes_on(toy_folder: Path, traces: Path, tmp_path: Path) -> None:
    """Three kills while it writes a checkpoint every second step; in between nothing is lost."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    done = run(*finetune(traces, toy_folder, whole, "--new-tokens", "2"))
    assert done.returncode == 0, done.stderr
    command = [sys.executable, *finetune(traces, toy_folder, part, "--new-tokens", "2")]
    for wanted in (2, 8, 14):
        process = subprocess.Popen(
            [*command, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until = time.monotonic() + DEADLINE
            while not (part / f"checkpoints/checkpoint-{wanted}").exists():
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < until
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert [*(part / "checkpoints").glob("checkpoint-*")]
        assert not (part / "training.json").exists()
    refused = run(*finetune(traces, toy_folder, part, "--new-tokens", "2"))
    assert refused.returncode == 1
    assert "unfinished training" in refused.stderr
    done = run(*finetune(traces, toy_folder, part, "--new-tokens", "2", "--resume"))
    assert done.returncode == 0, done.stderr
    assert not (part / "checkpoints").exists()
    one, other = weights(whole), weights(part)
    assert all(torch.equal(one[name], other[name]) for name in one | other)


def test_a_full_disk_ends_in_one_message(toy_folder: Path, traces: Path, tmp_path: Path) -> None:
    """No file may be larger than the limit, which the optimiser's is."""
    out = tmp_path / "a"
    script = (
        "import resource, signal, sys; from tascel.cli import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); main()"
    )
    arguments = finetune(traces, toy_folder, out)[2:]
    failed = run("-c", script, *arguments)
    assert failed.returncode == 1
    assert "cannot be written" in failed.stderr
    assert "Traceback" not in failed.stderr
    done = run(*finetune(traces, toy_folder, out, "--resume"))
    assert done.returncode == 0, done.stderr


def test_two_processes_share_a_training(toy_folder: Path, traces: Path, tmp_path: Path) -> None:
    launch = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu"]
    command = finetune(traces, toy_folder, tmp_path / "a", "--new-tokens", "2")
    done = subprocess.run(
        [sys.executable, *launch, *command],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("30 steps over 16 traces") == 1
    assert done.stderr.count("step 30:") == 1
    assert not (tmp_path / "a/checkpoints").exists()
    facts = json.loads((tmp_path / "a/training.json").read_text())
    assert facts["best"]["tried"] == 8
    assert facts["best"]["loss"] < facts["evaluations"][0]["loss"] / 2
    assert facts["new_tokens"] == 2
    load_model(toy_folder, tmp_path / "a")
