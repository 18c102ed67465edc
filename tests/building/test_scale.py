"""A bundle does not depend on who builds it, nor on how often that was stopped."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import threading

import numpy as np
import pytest

from tascel import builder
from tascel.builder import BuildConfig, build
from tascel.building import gather as gathering
from tascel.building import look as looking
from tascel.building.thin import level_for
from tascel.errors import BundleError, TascelError, TraceError
from tascel.traces import read as reading
from tascel.traces import shards

NOW = 1_760_000_000.0


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Cut what is small, too."""
    monkeypatch.setattr(builder, "cut", lambda path: shards.cut(path, 4000))
    monkeypatch.setattr(looking, "_TOKENS", 3000)
    monkeypatch.setattr(builder, "READ_AT_ONCE", 0)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    file = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    rooms = ["den", "hall", "attic", "kitchen"] * 65
    asked = [
        (f"light {i} in the {room} please", f'{{"on": "{room}"}}')
        if i % 2
        else (f"play song {i * 7} by the band {i % 11}", f"song {i * 7} on")
        for i, room in enumerate(rooms)
    ]
    lines = [
        {"prompt": prompt, "output": output, "task": prompt.split()[0]} for prompt, output in asked
    ]
    lines[5]["time"] = 5.0
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def alone(toy_folder, traces, tmp_path_factory):
    """The bundle that one process builds of the stream."""
    from tascel.traces.read import read_traces

    out = tmp_path_factory.mktemp("alone") / "bundle"
    return arrays(build(read_traces(traces), toy_folder, out, now=NOW))


def arrays(bundle):
    """All files but the manifest, and what that says."""
    facts = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))
    assert not bundle.path.with_name(f".{bundle.path.name}.building").exists()
    files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files}
    return files | {key: facts[key] for key in facts if key not in ("created", "command")}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_build_the_same_bundle(toy_folder, traces, alone, tmp_path, workers):
    heard = []
    bundle = build(
        traces, toy_folder, tmp_path / "b", workers=workers, now=NOW,
        progress=lambda *said: heard.append(said),
    )  # fmt: skip
    assert arrays(bundle) == alone
    assert ("reading traces", 260, None) in heard
    assert ("looking at prompts", 260, 260) in heard
    assert len(bundle.tasks) == 2
    assert any(stage == "trusting tasks" for stage, _, _ in heard)


@pytest.mark.parametrize("size", [4000, 10_000, 1 << 20])
def test_thinned_by_shards_as_at_once(toy_folder, traces, tmp_path, monkeypatch, size):
    from tascel.traces.read import read_traces

    config = BuildConfig(corpus_tokens=900)
    at_once = build(read_traces(traces), toy_folder, tmp_path / "a", config=config, now=NOW)
    assert 1 < at_once.manifest.counts["outputs"] < 200
    monkeypatch.setattr(builder, "cut", lambda path: shards.cut(path, size))
    by_shards = build(traces, toy_folder, tmp_path / "b", config=config, now=NOW)
    assert arrays(by_shards) == arrays(at_once)


def test_where_nobody_thins_further_one_stays():
    counted = np.zeros(64, np.int64)
    counted[[0, 3]] = 50, 70
    assert [level_for(cap, counted, counted) for cap in (120, 119, 70, 69, 1)] == [0, 1, 1, 3, 3]
    assert level_for(120, counted, counted, level=2) == 2
    assert level_for(40, counted, 4 * counted) == 3


def test_a_build_that_was_stopped_goes_on(toy_folder, traces, alone, tmp_path, monkeypatch):
    def stop_at(stop):
        def heard(stage, done, total):
            if stage == stop and done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(traces, toy_folder, tmp_path / "b", progress=heard, now=NOW)

    stop_at("trusting")
    left = [path.name for path in (tmp_path / ".b.building").rglob("facts.json")]
    assert len(left) == len(shards.cut(traces, 4000))
    monkeypatch.setattr(gathering, "read_shard", None)  # nobody reads again
    monkeypatch.setattr(looking, "look_at", None)
    assert arrays(build(traces, toy_folder, tmp_path / "b", workers=2, now=NOW)) == alone


def test_other_traces_begin_anew(toy_folder, traces, tmp_path):
    def stop(stage, done, total):
        if stage == "indexing":
            raise KeyboardInterrupt

    for name in ("one", "two"):
        file = tmp_path / "t.jsonl"
        file.write_text(traces.read_text(encoding="utf-8").replace("light", name), encoding="utf-8")
        with pytest.raises(KeyboardInterrupt):
            build(file, toy_folder, tmp_path / "b", progress=stop)
    assert len([p for p in (tmp_path / ".b.building").iterdir() if p.is_dir()]) == 1
    codec = build(file, toy_folder, tmp_path / "b").codec
    text = codec.decode(codec.prompt("two 1 in the hall"))
    assert "two" in text


def test_wrong_traces_leave_nothing(toy_folder, traces, tmp_path):
    file = tmp_path / "t.jsonl"
    good = traces.read_text(encoding="utf-8")
    file.write_text(f"{good}\nno record\n{good}\n[]\n", encoding="utf-8")
    with pytest.raises(TraceError, match=r"t.jsonl:261: not JSON"):
        build(file, toy_folder, tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_what_is_left_out_is_counted_and_its_first_is_named(
    toy_folder, traces, tmp_path, monkeypatch
):
    """The line's number is counted once: it takes reading the file up to there."""
    file = tmp_path / "t.jsonl"
    good = traces.read_text(encoding="utf-8")
    file.write_text(f"{good}\nno record\n{good}\n[]\n{good}\n[]\n", encoding="utf-8")
    counted, told = [], []
    lines = reading._lines
    monkeypatch.setattr(reading, "_lines", lambda *said: counted.append(said) or lines(*said))
    build(
        file, toy_folder, tmp_path / "b", skip_bad=True,
        on_bad=lambda error, count: told.append((str(error), count)),
    )  # fmt: skip
    ((error, count),) = told
    assert error.startswith(f"{file}:261: not JSON")
    assert count == 3
    assert len(counted) == 1


def test_workers_may_stand_in_another_folder(toy_folder, traces, alone, tmp_path, monkeypatch):
    """Those of a cluster do."""
    read = gathering.read_shard
    monkeypatch.chdir(traces.parent)

    def elsewhere(job, out, tick):
        with contextlib.chdir(tmp_path):
            read(job, out, tick)

    monkeypatch.setattr(gathering, "read_shard", elsewhere)
    assert arrays(build(traces.name, toy_folder, tmp_path / "b", now=NOW)) == alone


def test_each_build_writes_with_its_own_tokenizer(toy_folder, tokenizer, traces, tmp_path):
    """Two in one process, to one place."""
    shutil.copytree(toy_folder, tmp_path / "model")
    another = copy.deepcopy(tokenizer)
    another.add_tokens(["light"])
    another.save_pretrained(tmp_path / "model")
    build(traces, toy_folder, tmp_path / "b", now=NOW)
    again = build(traces, tmp_path / "model", tmp_path / "b", now=NOW)
    assert arrays(again) == arrays(build(traces, tmp_path / "model", tmp_path / "c", now=NOW))


def test_a_pipe_is_read_once(toy_folder, traces, alone, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(traces.read_bytes()))
    writer.start()
    bundle = build(pipe, toy_folder, tmp_path / "b", now=NOW)
    writer.join()
    assert arrays(bundle) == alone


def test_files_are_opened_for_so_many_jobs_only(toy_folder, traces, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "_TOKENS", 10)
    monkeypatch.setattr(looking, "_MOST", 5)
    jobs = []

    def count(stage, done, total):
        if stage == "indexing":
            jobs.append(len(list((tmp_path / ".b.building").glob("*/look-*"))))

    assert arrays(build(traces, toy_folder, tmp_path / "b", now=NOW, progress=count)) == alone
    assert jobs[0] == 5


def test_strange_files_among_what_was_left_are_no_obstacle(toy_folder, traces, tmp_path):
    left = tmp_path / ".b.building"
    (left / "0123").mkdir(parents=True)
    (left / ".nfs0123").write_text("")
    build(traces, toy_folder, tmp_path / "b", now=NOW)
    assert not left.exists()


def test_nothing_to_learn_is_said_as_ever(toy_folder, tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text('{"prompt": "a", "output": "b", "split": "test"}\n', encoding="utf-8")
    with pytest.raises(TraceError, match="for training"):
        build(file, toy_folder, tmp_path / "b")
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(TraceError, match="holds no traces"):
        build(file, toy_folder, tmp_path / "b")


def test_a_short_write_of_numpy_is_a_full_disk(toy_folder, traces, tmp_path, monkeypatch):
    def short(job, out, tick):
        raise OSError("1000 requested and 10 written")

    with monkeypatch.context() as patch:
        patch.setattr(looking, "look_at", short)
        with pytest.raises(BundleError, match="the disk is full"):
            build(traces, toy_folder, tmp_path / "b", now=NOW)
    assert (tmp_path / ".b.building").exists()  # to go on once there is room


def test_two_builds_of_one_bundle_do_not_meet(toy_folder, traces, tmp_path):
    def again(stage, done, total):
        if stage == "indexing":
            with pytest.raises(BundleError, match="another process is building"):
                build(traces, toy_folder, tmp_path / "b")

    build(traces, toy_folder, tmp_path / "b", progress=again)


def test_workers_must_be_some(toy_folder, traces, tmp_path):
    with pytest.raises(TascelError, match="workers cannot be"):
        build(traces, toy_folder, tmp_path / "b", workers=0)
    assert not (tmp_path / ".b.building").exists()
