"""`--html` and `--plots`, as a user types them."""

from __future__ import annotations

import json
import sys

import pytest

from tascel import build
from tascel.report import page

TOLD = "the lamp in the den is now at"


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    file = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    lines = [
        {
            "prompt": f"set the lamp in the {room} to {i % 4}",
            "output": f"the lamp in the {room} is now at {i % 4}",
            "split": split,
            "group": f"{room} {i % 12}",
        }
        for i in range(24)
        for room in ("den", "hall")
        for split in ("train", "test")
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def bundle(toy_folder, traces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    build(traces, toy_folder, folder)
    return folder


def test_replay_writes_a_page_and_pictures(tascel, bundle, traces, tmp_path):
    html, plots, numbers = tmp_path / "a.html", tmp_path / "plots", tmp_path / "a.json"
    code, _, err = tascel(
        "replay", bundle, traces, "--html", html, "--plots", plots, "--json", numbers,
        "--against", "prompt-lookup",
    )  # fmt: skip
    assert code == 0, err
    content = json.loads(numbers.read_text(encoding="utf-8"))
    text = html.read_text(encoding="utf-8")
    assert f"{content['drafts'][-1]['speedup_estimate']:.2f} times as fast" in text
    assert "set the lamp in the hall" in text
    assert "12 of 48" in text
    assert {file.suffix for file in plots.iterdir()} == {".png", ".svg"}
    # Numbers alone: no word of the traces.
    assert TOLD not in numbers.read_text(encoding="utf-8")
    drafting = content["drafting"]
    written = sum(n * passes for n, passes in enumerate(drafting["tokens_written"]))
    assert written == content["tokens"]
    assert drafting["passes"] == sum(drafting["tokens_written"])
    per_pass = content["drafts"][-1]["tokens_per_step"]
    assert written / drafting["passes"] == pytest.approx(per_pass)
    shares = content["drafts"][-1]["accepted_by_source"]
    for source, own in drafting["sources"].items():
        assert own["accepted"] / written == pytest.approx(shares.get(source, 0))
    low, high = content["drafts"][-1]["interval"]
    assert low <= content["drafts"][-1]["speedup_estimate"] <= high


def test_bench_writes_a_page(tascel, bundle, traces, toy_folder, tmp_path):
    html, numbers = tmp_path / "a.html", tmp_path / "a.json"
    code, _, err = tascel(
        "bench", bundle, traces, "-m", toy_folder, "--limit", 3, "--max-tokens", 12,
        "--against", "none", "--html", html, "--json", numbers,
    )  # fmt: skip
    assert code == 0, err
    content = json.loads(numbers.read_text(encoding="utf-8"))
    text = html.read_text(encoding="utf-8")
    assert "All of them are shown" in text
    assert text.count("<article>") == 3
    ours = content["rows"][-1]
    drafting = content["drafting"]
    assert drafting["answers"] == 3
    written = sum(n * passes for n, passes in enumerate(drafting["tokens_written"]))
    assert 0 < written <= ours["tokens"]
    assert content["memory_bytes"]["model"] > 0
    assert content["memory_bytes"]["process"] > content["memory_bytes"]["bundle"] > 0


def test_bench_of_batches_writes_a_page(tascel, bundle, traces, toy_folder, tmp_path):
    html, numbers = tmp_path / "a.html", tmp_path / "a.json"
    code, _, err = tascel(
        "bench", bundle, traces, "-m", toy_folder, "--limit", 5, "--max-tokens", 8, "--rows", 3,
        "--repeats", 2, "--html", html, "--json", numbers,
    )  # fmt: skip
    assert code == 0, err
    content = json.loads(numbers.read_text(encoding="utf-8"))
    assert content["drafting"]["answers"] == content["examples"] == 5
    assert content["drafting"]["hindsight"] is None
    text = html.read_text(encoding="utf-8")
    assert "3 at a time" in text
    assert text.count("<article>") == 5


def test_advise_writes_a_page(tascel, traces, toy_folder, tmp_path):
    html, numbers = tmp_path / "a.html", tmp_path / "a.json"
    code, _, err = tascel(
        "advise", traces, "-m", toy_folder, "--limit", 5, "--html", html, "--json", numbers,
        "--plots", tmp_path / "plots",
    )  # fmt: skip
    assert code == 0, err
    content = json.loads(numbers.read_text(encoding="utf-8"))
    text = html.read_text(encoding="utf-8")
    for step in content["recommendation"]["steps"]:
        for command in step["commands"]:
            assert command in text
    assert (tmp_path / "plots" / "entropy.svg").is_file()


def test_a_report_is_refused_before_the_work(tascel, bundle, traces, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page._template.cache_clear()
    html = tmp_path / "a.html"
    code, _, err = tascel("replay", bundle, tmp_path / "no traces", "--html", html)
    page._template.cache_clear()
    assert code == 1
    assert "pip install 'tascel[report]'" in err
    assert not html.exists()
