"""Benchmarks without a model: what is replayed has not been learned, and runs end in numbers."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from tascel.bench.replay import compare
from tascel.builder import build, silent
from tascel.decode.forced import Example, Rules, speedup
from tascel.draft.price import typical
from tascel.traces.read import read_traces
from tascel.types import Trace

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Runs one of the benchmarks as `python benchmarks/NAME.py …`, or gives what it defines."""
    monkeypatch.syspath_prepend(SCRIPTS)
    path = "{}/{}.py".format

    def run(name, *args):
        if not args:
            return runpy.run_path(path(SCRIPTS, name))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, args)])
        return runpy.run_path(path(SCRIPTS, name), run_name="__main__")

    return run


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


def test_a_tenth_is_whole_groups_of_the_training_traces(folder, script):
    divided = script("replay")["divided"]
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
def test_all_tasks_are_replayed_and_written(folder, toy_folder, script, capsys):
    file = folder / "out" / "replay.json"
    script(
        "replay", folder, "--model", toy_folder, "--tasks", "one", "two", "--split", "tenth",
        "--limit", 3, "--json", file,
    )  # fmt: skip
    assert "suffix-warm" in capsys.readouterr().out
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["settings"]["split"] == "tenth"
    assert [*content["tasks"]] == ["one", "two"]
    for document in content["tasks"].values():
        assert document["examples"] <= 3
        assert document["learned"] + document["asked"] == 40
        assert document["drafts"][-1]["name"] == "tascel"
        rows = {row["name"]: row for row in document["drafts"]}
        assert {"no-slots", "relearned:no-slots", "relearned:neither"} < rows.keys()
        assert "pooled" not in rows  # there is one task
        assert document["unseen"] == 0
        assert rows["tascel"]["speedup_unseen"] is None


def test_a_draft_relearned_without_a_source_has_nothing_of_it(folder, toy_folder, script):
    relearned = script("relearned")
    traces = [*read_traces(folder / "one.jsonl")]
    bundle = build(iter(traces), toy_folder, folder / "bundle")
    readers = {name: reader for name, (reader, _) in relearned["RELEARNED"].items()}
    made = {
        name: relearned["relearned"](bundle, traces, reader, silent).learned.knowledge
        for name, reader in readers.items()
    }
    copies = {name: bool(known.pointer.any()) for name, known in made.items()}
    alike = {name: bool(len(known.neighbours.keys)) for name, known in made.items()}
    assert copies == {
        "relearned:no-neighbours": True, "relearned:no-slots": False, "relearned:neither": False,
    }  # fmt: skip
    assert alike == {
        "relearned:no-neighbours": False, "relearned:no-slots": True, "relearned:neither": False,
    }  # fmt: skip


def test_answers_that_were_not_learned_are_counted_apart(folder, toy_folder, script):
    lines = [{"prompt": f"light {i}", "output": "on, " * (1 + i % 9)} for i in range(30)]
    (folder / "some.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    bundle = build(folder / "some.jsonl", toy_folder, folder / "bundle")
    known = [
        Example(bundle.codec.prompt("light"), bundle.codec.answer(answered(text)))
        for text in ("on, on, ", "off, off, ", "on, on, on, ")
    ]
    rules = Rules(typical(), bundle.manifest.vocab_size)
    costs = compare(bundle, known, {}, rules)
    rows = [{"name": "tascel"}]
    unseen = script("replay")["unseen"]
    assert unseen(rows, costs, known, bundle, rules) == {"unseen": 1 / 3}
    assert rows[0]["speedup_unseen"] == speedup(costs["tascel"][1:2], rules)


def answered(text):
    return Trace(({"role": "user", "content": "light"},), {"role": "assistant", "content": text})


def test_mixed_tasks_are_found_routed_and_compared(tmp_path, toy_folder, script, capsys):
    says = {"light": "please switch the lamp in room {}", "sum": "how much is 3 plus {} exactly"}
    for task, prompt in says.items():
        lines = [
            {"prompt": prompt.format(i), "output": f"{task} -> {i % 9}", "split": s, "group": i}
            for i in range(130)
            for s in ("train", "test")
        ]
        text = "\n".join(map(json.dumps, lines))
        (tmp_path / f"{task}.jsonl").write_text(text, encoding="utf-8")
    file = tmp_path / "mixed.json"
    script(
        "mixed", tmp_path, "--model", toy_folder, "--tasks", *says, "--most", 120, "--limit", 4,
        "--json", file,
    )  # fmt: skip
    assert "accepted of drafted" in capsys.readouterr().out
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["learned"] == 240
    assert 1 <= content["routing"]["clusters"] <= 21
    given = content["routing_labelled"]
    assert (given["clusters"], given["accuracy"]) == (2, 1)
    assert given["names"] == {task: task for task in says}
    assert {task: part["examples"] for task, part in content["tasks"].items()} == {
        "light": 4, "sum": 4, "all": 8,
    }  # fmt: skip
    for part in content["tasks"].values():
        rows = {row["name"]: row for row in part["drafts"]}
        assert [*rows] == [
            "pooled", "routed", "neighbours", "tascel", "labelled", "named", "alone",
        ]  # fmt: skip
        assert rows["pooled"]["accuracy_gain"] == rows["pooled"]["chain_accuracy_gain"] == 0
        assert all(0 < row["draft_accuracy"] <= 1 for row in rows.values())


def test_what_breakers_save_up_is_tried_on_training_folds(folder, script, toy_folder, tmp_path):
    out = tmp_path / "saved.json"
    script("saved", folder, "--model", toy_folder, "--tasks", "one", "two", "--json", out)
    content = json.loads(out.read_text(encoding="utf-8"))
    assert {*content["tasks"]} == {"one", "two"}
    for found in content["tasks"].values():
        assert found["answers"] == 8  # a fifth of the training traces
        assert found["learned"] == 32
        for by_answers in found["prices"].values():
            own, foreign = (by_answers[which] for which in ("own", "foreign"))
            assert {*own} == {"0", "4", "8", "16", "24", "48"}
            assert own["48"] >= own["0"] > 1
            assert foreign["0"] <= own["0"]


def test_the_readme_names_every_script_and_every_result():
    readme = (SCRIPTS / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in SCRIPTS.glob("*.py")}
    assert {name for name in scripts if name not in readme} == set()
    named = re.findall(r"`(?:results/|…)?(\w+\.json)`", readme)
    patterns = [re.escape(name).replace("TASK", r"\w+") for name in named]
    results = {path.name for path in (SCRIPTS.parent / "results").glob("*.json")}
    assert {n for n in results if not any(re.search(f"{p}$", n) for p in patterns)} == set()
