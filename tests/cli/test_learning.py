"""`tascel generate --learn`: what was answered is in the bundle afterwards."""

from __future__ import annotations

import json

import pytest

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.store.folder import check_folder
from tascel.traces.read import read_traces


@pytest.fixture
def traces(tmp_path):
    lines = [{"prompt": f"light {i}", "output": f"the lamp {i % 7}"} for i in range(30)]
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def bundle(traces, toy_folder, tmp_path):
    return build(read_traces(traces), toy_folder, tmp_path / "b").path


def test_answers_are_learned(tascel, bundle, toy_folder, traces, tmp_path):
    before = len(Bundle.open(bundle).records())
    code, _, err = tascel(
        "generate", bundle, traces, "-m", toy_folder, "-o", tmp_path / "answers.jsonl",
        "--limit", 4, "--regex", "ab|cd", "--learn", "--learn-tokens", 1000, "--learn-days", 30,
    )  # fmt: skip
    assert code == 0, err
    assert before < len(Bundle.open(bundle).records()) <= before + 4
    assert check_folder(bundle).learned


def test_bounds_need_learning(tascel, bundle, toy_folder):
    code, _, err = tascel(
        "generate", bundle, "-m", toy_folder, "-p", "light", "--learn-days", 3,
    )  # fmt: skip
    assert code == 1
    assert "--learn" in err


def test_learning_needs_drafts(tascel, bundle, toy_folder):
    code, _, err = tascel(
        "generate", bundle, "-m", toy_folder, "-p", "light", "--learn", "--no-drafts",
    )  # fmt: skip
    assert code == 1
    assert "nothing to learn for" in err
