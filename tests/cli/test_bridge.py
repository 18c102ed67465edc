"""`bridge` as typed."""

from __future__ import annotations

import json

import pytest


def test_cut_says_what_it_kept(tascel, toy_folder, tmp_path):
    code, out, _ = tascel("bridge", "cut", toy_folder, "--layers", 1, "-o", tmp_path / "small")
    assert code == 0
    assert "layers 0 of 2" in out
    assert "answers badly until it is trained" in out
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_hidden_layers"] == 1
    code, _, err = tascel("bridge", "cut", toy_folder, "--layers", 3, "-o", tmp_path / "none")
    assert code == 1
    assert "3 of 2 layers" in err


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    file = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    lines = [
        {"prompt": f"light {i} in the den", "output": f'{{"on": "den {i % 3}"}}', "split": split}
        for i in range(30)
        for split in ("train", "valid", "test")
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def test_plan_says_when_it_would_pay(tascel, toy_folder, traces, tmp_path):
    small, numbers = tmp_path / "small", tmp_path / "plan.json"
    assert tascel("bridge", "cut", toy_folder, "--layers", 1, "-o", small)[0] == 0
    code, out, err = tascel(
        "bridge", "plan", traces, "--large", toy_folder, "--small", small,
        "--limit", 3, "--json", numbers,
    )  # fmt: skip
    assert code == 0, err
    assert "bridged + drafts (projected)" in out
    content = json.loads(numbers.read_text())
    assert content["verdict"] in out
    assert (content["replayed"], content["learned"]) == (3, 30)
    assert content["large"]["layer"] == 1
    rows = {row["name"]: row for row in content["answers"]}
    names = [f"{who}{drafts}" for who in ("large", "small alone", "bridged")
             for drafts in ("", " + drafts")]  # fmt: skip
    assert [*rows] == names
    assert [row["projected"] for row in rows.values()] == [False] * 4 + [True] * 2
    reading = rows["bridged"]["ms"] - rows["small alone"]["ms"]
    assert abs(reading - content["large"]["reading"]) < 1e-6
    assert rows["large + drafts"]["tokens_per_pass"] > 1


def test_train_leaves_a_folder_that_answers(tascel, toy_folder, traces, tmp_path):
    out_folder, answers = tmp_path / "bridged", tmp_path / "answers.jsonl"
    code, out, err = tascel(
        "bridge", "train", traces, "--large", toy_folder, "--small", toy_folder, "-o", out_folder,
        "--layer", 1, "--fuse", "replace", "--steps", 2, "--batch", 4, "--valid", 0,
    )  # fmt: skip
    assert code == 0, err
    assert "2 steps over 30 traces" in out
    facts = json.loads((out_folder / "training.json").read_text())
    assert (facts["bridge"]["layer"], facts["bridge"]["how"]) == (1, "replace")
    assert facts["settings"]["method"] == "full"
    bundle = tmp_path / "bundle"
    assert tascel("build", traces, "--model", out_folder, "-o", bundle)[0] == 0
    code, _, err = tascel(
        "generate", bundle, traces, "-m", out_folder, "-o", answers, "--limit", 2,
        "--max-tokens", 8,
    )  # fmt: skip
    assert code == 0, err
    assert len(answers.read_text().splitlines()) == 2
