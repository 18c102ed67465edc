"""The bridge's benchmark from traces to a table, on toys."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tascel.adapt.bridge.config import BridgeConfig
from tascel.adapt.bridge.train import train_bridge
from tascel.adapt.train.config import FinetuneConfig
from tascel.traces.read import read_traces

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


def test_benchmark_scores_and_times_all_and_prints_a_table(
    toy_folder, tmp_path, monkeypatch, capsys
):
    traces = tmp_path / "lights.jsonl"
    lines = [
        {"prompt": f"light {i}", "output": f'{{"on": {i % 3}}}', "split": split}
        for i in range(8)
        for split in ("train", "test")
    ]
    traces.write_text("\n".join(map(json.dumps, lines)))
    config = FinetuneConfig(method="full", steps=1, batch=4)
    train_bridge(
        read_traces(traces), toy_folder, tmp_path / "bridged", BridgeConfig(toy_folder), config
    )
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(SCRIPTS)
    result = tmp_path / "results" / "bridge_lights.json"
    result.parent.mkdir()
    command = ["bridge.py", traces, "--large", toy_folder, "--small", toy_folder]
    command += ["--bridged", f"ours={tmp_path / 'bridged'}", "--scored", "5", "--timed", "3"]
    command += ["--max-tokens", "12", "--json", result]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    runpy.run_path(str(SCRIPTS / "bridge.py"), run_name="__main__")
    report = json.loads(result.read_text())
    assert [row["name"] for row in report["models"]] == ["large", "small alone", "ours"]
    assert (report["scored"], report["timed"], len(report["times"])) == (5, 3, 6)
    # With drafts and without, each model says the same.
    assert {row["differ_from_plain"] for row in report["times"]} == {0}
    by_name = {row["name"]: row for row in report["models"]}
    assert by_name["large"]["f1"] == by_name["small alone"]["f1"]
    assert by_name["ours"]["training"]["bridge"]["how"] == "add"
    assert by_name["ours"]["gap_closed"] is None  # the large one is no better here
    capsys.readouterr()
    table = runpy.run_path(str(SCRIPTS / "table_models.py"))["bridge"]
    table.__globals__["RESULTS"] = result.parent
    printed = table().splitlines()
    assert len(printed) == 2 + 3
    assert printed[-1].startswith("| lights | ours |")


def test_the_gap_is_closed_by_what_small_lacks_and_bridged_has(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    gap_closed = runpy.run_path(str(SCRIPTS / "bridge.py"))["gap_closed"]
    small, large = [1.0, 0, 0, 0, 0] * 20, [1.0, 1, 1, 1, 1] * 20
    share, low, high = gap_closed([1.0, 1, 1, 0, 0] * 20, small, large)
    assert share == pytest.approx(0.5)
    assert 0.3 < low < share < high < 0.7
    assert gap_closed(small, small, small) is None
