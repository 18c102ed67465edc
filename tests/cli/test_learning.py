"""`tascel generate --learn`: what was answered is in the bundle afterwards."""

from __future__ import annotations

import shutil

from tascel.bundle import Bundle
from tascel.store.folder import check_folder


def test_answers_are_learned(tascel, bundle, toy_folder, traces, tmp_path):
    path = shutil.copytree(bundle, tmp_path / "b")
    code, _, err = tascel(
        "generate", path, traces, "-m", toy_folder, "-o", tmp_path / "answers.jsonl",
        "--limit", 4, "--regex", "ab|cd", "--learn", "--learn-tokens", 1000, "--learn-days", 30,
    )  # fmt: skip
    assert code == 0, err
    before, after = len(Bundle.open(bundle).records()), len(Bundle.open(path).records())
    assert before < after <= before + 4
    assert check_folder(path).learned


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
