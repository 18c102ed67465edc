"""The Grafana dashboard: what its script makes, of metrics that the server has."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tascel.learning import LearnStats
from tascel.serve.learning import Learning
from tascel.serve.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "examples" / "grafana"


@pytest.fixture(scope="module")
def board():
    return json.loads((FOLDER / "tascel.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def known():
    """The labels of every metric of a server that learns and has answered."""
    metrics = Metrics()
    metrics.add(Learning({"": SimpleNamespace(stats=LearnStats)}))
    for name in ("tascel_running", "tascel_waiting"):
        metrics.watch(name, "Answers.", lambda: 0)
    families = list(text_string_to_metric_families(metrics.text().decode()))
    names = {family.name + "_total" * (family.type == "counter") for family in families}
    buckets = {f"{family.name}_bucket" for family in families if family.type == "histogram"}
    return names | buckets


def expressions(board):
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_the_file_is_what_the_script_makes(board, capsys):
    runpy.run_path(str(FOLDER / "dashboard.py"), run_name="__main__")
    assert json.loads(capsys.readouterr().out) == board


def test_every_metric_exists(board, known):
    asked = [*expressions(board), *(one.get("query", "") for one in board["templating"]["list"])]
    named = set(re.findall(r"\b(?:tascel|process)_[a-z_]+", " ".join(map(str, asked))))
    assert len(named) > 15
    assert named <= known


def test_panels_have_names_and_what_they_mean(board):
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 15
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["type"] == "stat" or panel["description"]
        assert all(
            target["expr"].count("{") == target["expr"].count("}") for target in panel["targets"]
        )
