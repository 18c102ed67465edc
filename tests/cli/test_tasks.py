"""Tasks on the command line: learned, listed, and said of what was answered."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def file(two_tasks, tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    lines = [
        {"prompt": t.prompt_text, "output": t.answer["content"], "task": f"[red]{t.task}"}
        for t in two_tasks(15, labelled=True)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_tasks_are_built_listed_and_counted(tascel, toy_folder, file, tmp_path):
    bundle = tmp_path / "b"
    code, out, _ = tascel("build", file, "--model", toy_folder, "-o", bundle)
    assert code == 0
    assert "2 tasks" in out

    code, out, _ = tascel("tasks", bundle, "--json", tmp_path / "tasks.json")
    assert code == 0
    assert "[red]lights" in out
    assert "[red]songs" in out
    listed = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))["tasks"]
    assert [task["traces"] for task in listed] == [15, 15]

    shown = ("generate", bundle, "-m", toy_folder, "-p", "PLAY ME Devo (3)", "--max-tokens", "4")
    code, _, err = tascel(*shown)
    assert code == 0
    assert "by task: 1 [red]songs" in err

    answers = ("-o", tmp_path / "a.jsonl", "--limit", "20", "--max-tokens", "4")
    code, _, err = tascel("generate", bundle, file, "-m", toy_folder, *answers)
    assert code == 0
    assert "15 [red]lights" in err

    for rows in (1, 4):
        code, out, _ = tascel(
            "bench", bundle, file, "-m", toy_folder, "--limit", 4, "--max-tokens", 4,
            "--against", "none", "--rows", rows, "--repeats", 1,
        )  # fmt: skip
        assert code == 0
        assert "by task: 4 [red]lights" in out


def test_one_task_says_so(tascel, toy_folder, file, tmp_path):
    code, out, _ = tascel(
        "build", file, "--model", toy_folder, "-o", tmp_path / "b", "--tasks", "one"
    )
    assert code == 0
    assert "tasks" not in out
    code, out, _ = tascel("tasks", tmp_path / "b")
    assert code == 0
    assert "one task of 30 traces" in out
    code, _, err = tascel(
        "generate", tmp_path / "b", "-m", toy_folder, "-p", "a", "--max-tokens", "2"
    )
    assert code == 0
    assert "by task" not in err


def test_nonsense_is_refused_in_one_message(tascel, toy_folder, file, tmp_path):
    code, _, err = tascel(
        "build", file, "--model", toy_folder, "-o", tmp_path / "b", "--tasks", "nonsense"
    )
    assert code == 1
    assert err.count("error:") == 1
    assert "nonsense" in err
    assert not (tmp_path / "b").exists()
