from __future__ import annotations

import json

import pytest


@pytest.fixture
def lamp_traces(tmp_path, monkeypatch):
    """A file of traces whose answers repeat, ten of them held out; and a cache of its own."""
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    lines = [
        {
            "prompt": f"light {i}",
            "output": f'{{"lamp": {i % 3}}}',
            "split": "test" if i >= 40 else "train",
        }
        for i in range(50)
    ]
    traces = tmp_path / "lamps.jsonl"
    traces.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return traces
