"""A Ray cluster builds the bundle that one process builds (make test-ray)."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from tascel import builder
from tascel.builder import build
from tascel.building import look as looking
from tascel.traces import shards

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def cluster():
    ray = import_module("ray")
    ray.init(num_cpus=2, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_cluster_builds_the_same_bundle(cluster, toy_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "cut", lambda path: shards.cut(path, 4000))
    monkeypatch.setattr(looking, "_TOKENS", 3000)
    lines = [{"prompt": f"light {i} in {i % 4}", "output": f"on {i % 4}"} for i in range(260)]
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    made = [
        build(file, toy_folder, tmp_path / str(workers), workers=workers, now=1.0)
        for workers in (1, "ray")
    ]
    one, other = (bundle.manifest for bundle in made)
    assert one.files == other.files
    assert one.counts == other.counts
