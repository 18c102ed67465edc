"""From traces to what is learned of all and of each task, and to a bundle that routes."""

from __future__ import annotations

import random
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest

from tascel import lessons
from tascel.builder import BuildConfig, build
from tascel.building.thin import Thinned
from tascel.bundle import Bundle
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.errors import BundleError, RequestError
from tascel.records import Records
from tascel.route import find as finding
from tascel.route.classify import Classifier
from tascel.route.draft import RoutedDraft
from tascel.types import Request


@pytest.fixture(scope="module")
def labelled(two_tasks, toy_folder, tmp_path_factory):
    """A bundle of two tasks that the traces name."""
    folder = tmp_path_factory.mktemp("b") / "bundle"
    return build(two_tasks(40, labelled=True), toy_folder, folder)


def tasks_of(traces, toy_folder, folder, **settings):
    built = build(traces, toy_folder, folder, config=BuildConfig(**settings))
    return [task.name for task in built.tasks]


def test_labels_are_the_tasks(labelled):
    entries = labelled.manifest.tasks
    assert [(entry.name, entry.traces) for entry in entries] == [("lights", 40), ("songs", 40)]
    assert all(rate == 0 or rate >= 1 for entry in entries for rate in (entry.own, entry.pooled))
    assert labelled.manifest.segments == ("all", "task-000", "task-001")
    draft = labelled.draft()
    assert isinstance(draft, RoutedDraft)
    prompt = labelled.codec.prompt("PLAY ME Devo (99)")
    assert draft.open(Request("r", prompt)).task == "songs"
    assert isinstance(labelled.draft(DraftConfig(routed=False)), NgramDraft)
    assert isinstance(labelled.draft(DraftConfig.published()), NgramDraft)
    summary = (labelled.path / "SUMMARY.md").read_text(encoding="utf-8")
    assert "| lights | 40 |" in summary


def test_a_bundle_that_is_opened_drafts_as_the_one_that_was_built(labelled):
    from tascel.draft.price import Price

    request = Request("r", labelled.codec.prompt("turn the lamp in the loft to 77"))
    drafted = [
        bundle.draft().open(request).propose(16, Price.free()).tokens.tolist()
        for bundle in (labelled, Bundle.open(labelled.path))
    ]
    assert drafted[0] == drafted[1] != []


def test_one_kind_of_label_or_few_traces_are_one_task(two_tasks, toy_folder, tmp_path):
    lights = two_tasks(30, labelled=True)[:30]
    assert tasks_of(lights, toy_folder, tmp_path / "a") == []
    assert tasks_of(two_tasks(30), toy_folder, tmp_path / "b") == []
    both = two_tasks(30, labelled=True)
    assert tasks_of(both, toy_folder, tmp_path / "c", tasks="one") == []
    assert tasks_of(both, toy_folder, tmp_path / "d", tasks="find") == []


def test_some_labels_are_none(two_tasks, toy_folder, tmp_path):
    some = two_tasks(20, labelled=True)
    for nothing in (None, ""):
        mixed = [replace(trace, task=nothing) if i % 3 else trace for i, trace in enumerate(some)]
        assert tasks_of(mixed, toy_folder, tmp_path / "b") == []


@pytest.mark.parametrize("counts", [(1, 1), (30, 1), (1, 2)])
def test_tasks_of_one_trace(two_tasks, toy_folder, tmp_path, counts):
    some = two_tasks(30, labelled=True)
    some = some[: counts[0]] + some[30 : 30 + counts[1]]
    assert tasks_of(some, toy_folder, tmp_path / "b") == ["lights", "songs"]
    entries = Bundle.open(tmp_path / "b").manifest.tasks
    assert [entry.traces for entry in entries] == [*counts]


def test_a_task_may_be_called_anything(two_tasks, toy_folder, tmp_path):
    names = {"lights": "unknown", "songs": "[/bold] a|b\n`c`"}
    some = [replace(t, task=names[t.task]) for t in two_tasks(12, labelled=True)]
    assert sorted(tasks_of(some, toy_folder, tmp_path / "b")) == sorted(names.values())
    draft = Bundle.open(tmp_path / "b").draft()
    prompt = Bundle.open(tmp_path / "b").codec.prompt("turn the lamp")
    assert draft.open(Request("r", prompt, task="unknown")).task == "unknown"
    assert "| unknown | 12 |" in (tmp_path / "b" / "SUMMARY.md").read_text(encoding="utf-8")


def test_too_many_labels_are_no_tasks(two_tasks, toy_folder, tmp_path):
    some = [replace(t, task=f"user {i}") for i, t in enumerate(two_tasks(40))]
    assert tasks_of(some, toy_folder, tmp_path / "b") == []


def test_found_tasks_are_named_after_what_they_say(two_tasks, toy_folder, tmp_path, monkeypatch):
    def halves(about, said):
        return {n: np.arange(len(about), dtype=np.int32) * n // len(about) for n in (1, 2)}

    monkeypatch.setattr(finding, "partitions", halves)
    monkeypatch.setattr(finding, "BETTER", 0.0)
    monkeypatch.setattr(lessons, "FEWEST", 60)
    first, second = tasks_of(two_tasks(40), toy_folder, tmp_path / "a")
    assert "lamp" in first
    assert "PLAY" in second or "CALL" in second
    silent = tasks_of(two_tasks(40), toy_folder, tmp_path / "b", text=False)
    assert silent == ["task 1", "task 2"]
    page = (tmp_path / "b" / "SUMMARY.md").read_text(encoding="utf-8")
    manifest = (tmp_path / "b" / "manifest.json").read_text(encoding="utf-8")
    assert not any(word in page + manifest for word in ("lamp", "PLAY", "queue"))
    same = [replace(t, task="home") for t in two_tasks(40)]  # one label for both clusters
    again = tasks_of(same, toy_folder, tmp_path / "c", tasks="find", text=False)
    assert again == ["task 1", "task 2"]


def test_the_same_trace_over_and_over_is_one_task(two_tasks, toy_folder, tmp_path):
    one = two_tasks(1)[:1] * 200
    assert tasks_of(one, toy_folder, tmp_path / "b") == []


def test_the_same_traces_give_the_same_bundle(two_tasks, toy_folder, tmp_path):
    some = [replace(trace, time=at % 3) for at, trace in enumerate(two_tasks(30, labelled=True))]
    for name in ("a", "b"):
        build(some, toy_folder, tmp_path / name)
    files = {file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.*")}
    for file in files - {(tmp_path / "manifest.json").relative_to(tmp_path)}:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_prompts_read_again_and_again_teach_the_same(two_tasks, toy_folder, tmp_path, monkeypatch):
    build(two_tasks(20, labelled=True), toy_folder, tmp_path / "a")
    monkeypatch.setattr(lessons, "READ_AT_ONCE", 0)
    build(two_tasks(20, labelled=True), toy_folder, tmp_path / "b")
    for file in (tmp_path / "a").rglob("*.npy"):
        other = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert file.read_bytes() == other.read_bytes(), file


def test_what_is_tried_is_drawn_at_random_from_a_sorted_stream(two_tasks, toy_folder, tmp_path):
    """Else trials of a few would never see the second task."""
    drawn = []

    class Noted(lessons.Trial):
        def __init__(self, seen, sample, *rest):
            drawn.extend(sample)
            super().__init__(seen, sample, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lessons, "Trial", Noted)
        build(two_tasks(40, labelled=True), toy_folder, tmp_path / "b")
    assert sorted(drawn) == [*range(80)]
    assert 10 < sum(at < 40 for at in drawn[:40]) < 30


def test_tasks_cannot_be_chosen_otherwise():
    with pytest.raises(RequestError, match="nonsense"):
        BuildConfig(tasks="nonsense")


def test_long_prompts_are_thinned_out_too():
    thinned = Thinned(100)
    for at in range(50):
        thinned.add(Records.of([np.full(90, at)], [np.zeros(1)], 0.0))
    assert 0 < len(thinned.records().prompts.flat) <= 400


def test_of_a_stream_too_long_a_few_are_learned(two_tasks, toy_folder, tmp_path):
    some = two_tasks(40, labelled=True)
    random.Random(0).shuffle(some)
    built = build(some, toy_folder, tmp_path / "b", config=BuildConfig(corpus_tokens=300))
    assert 0 < built.manifest.counts["outputs"] < 80
    build(some, toy_folder, tmp_path / "b", config=BuildConfig(corpus_tokens=1))


ROUTER = [*(field.name for field in fields(Classifier)), "tallies"]


@pytest.fixture
def copied(labelled, tmp_path):
    shutil.copytree(labelled.path, tmp_path / "b")
    return tmp_path / "b"


@pytest.mark.parametrize("name", ROUTER)
def test_damaged_routers_are_refused_by_name(copied, name):
    file = copied / "router" / f"{name}.npy"
    array = np.load(file)
    wrong = [array[None], array[:-1] if len(array) else array[None], array.astype(np.float64)[None]]
    if array.dtype.kind == "f" and array.size:
        wrong += [np.full_like(array, bad) for bad in (np.nan, np.inf)]
    for spoiled in wrong:
        np.save(file, spoiled)
        with pytest.raises(BundleError, match="router"):
            reopened(copied)
    file.unlink()
    with pytest.raises(BundleError, match=name):
        reopened(copied)


def reopened(folder):
    """As if the manifest told the sizes that are there."""
    from tascel.learned import read_router

    return read_router(folder / "router", 2)


@pytest.mark.parametrize("worst", [-1.0, 1e300])
def test_impossible_counts_are_refused(copied, worst):
    file = copied / "router" / "tallies.npy"
    np.save(file, np.full_like(np.load(file), worst))
    with pytest.raises(BundleError, match="impossible"):
        reopened(copied)


@pytest.mark.parametrize("seed", range(8))
def test_hostile_numbers_only_make_worse_drafts(copied, labelled, seed):
    """In the shape they should have, but any numbers."""
    rng = np.random.default_rng(seed)
    for name in ROUTER[:-1]:
        file = copied / "router" / f"{name}.npy"
        array = np.load(file)
        if array.dtype.kind == "f":
            most = float(np.finfo(array.dtype).max)
            np.save(file, rng.choice([-most, most, 0, 1e-7], array.shape).astype(array.dtype))
        else:
            np.save(file, rng.permutation(array))
    draft = Bundle.open(copied).draft()
    for text in ("PLAY ME Devo (99)", "turn the lamp", "~~~"):
        session = draft.open(Request("r", labelled.codec.prompt(text)))
        assert session.task in ("lights", "songs", "unknown")
