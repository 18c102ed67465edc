"""benchmarks/replay.py: what is replayed has not been learned, and a run ends in numbers."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tascel.traces.read import read_traces

SCRIPT = str(Path(__file__).parents[2] / "benchmarks" / "replay.py")


@pytest.fixture
def folder(tmp_path):
    lines = [
        {"prompt": f"light {i} {split}", "output": f'{{"on": {i % 3}}}', "split": split, "group": g}
        for i in range(40)
        for split in ("train", "test")
        for g in (i % 20,)
    ]
    for task in ("one", "two"):
        text = "\n".join(map(json.dumps, lines))
        (tmp_path / f"{task}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_tenth_is_whole_groups_of_the_training_traces(folder):
    divided = runpy.run_path(SCRIPT)["divided"]
    traces = [*read_traces(folder / "one.jsonl")]
    learned, asked = divided(traces, "tenth")
    assert len(learned) + len(asked) == 40
    assert 2 <= len(asked) <= 8
    assert {trace.split for trace in [*learned, *asked]} == {"train"}
    assert not {trace.group for trace in learned} & {trace.group for trace in asked}
    learned, asked = divided(traces, "near-tenth")
    assert len(learned) + len(asked) == 40
    assert {trace.group for trace in learned} & {trace.group for trace in asked}
    learned, asked = divided(traces, "test")
    assert [trace.split for trace in learned] == ["train"] * 40
    assert [trace.split for trace in asked] == ["test"] * 40


@pytest.mark.peers
def test_all_tasks_are_replayed_and_written(folder, toy_folder, monkeypatch, capsys):
    file = folder / "out" / "replay.json"
    monkeypatch.setattr(
        sys,
        "argv",
        ["replay.py", str(folder), "--model", str(toy_folder), "--tasks", "one", "two",
         "--split", "tenth", "--limit", "3", "--json", str(file)],
    )  # fmt: skip
    runpy.run_path(SCRIPT, run_name="__main__")
    assert "suffix-warm" in capsys.readouterr().out
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["settings"]["split"] == "tenth"
    assert [*content["tasks"]] == ["one", "two"]
    for document in content["tasks"].values():
        assert document["examples"] <= 3
        assert document["learned"] + document["asked"] == 40
        assert document["drafts"][-1]["name"] == "tascel"
