"""Several bundles become one: that of all their traces."""

from __future__ import annotations

import copy
import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tascel.builder import BuildConfig, build
from tascel.building import merge as merging
from tascel.building.merge import merge
from tascel.bundle import Bundle
from tascel.errors import BundleError, RequestError, TascelError
from tascel.records import Records
from tascel.store.amend import Change, amend, new_name
from tascel.store.folder import check_folder


@pytest.fixture(scope="module")
def halves(dated, toy_folder, tmp_path_factory):
    """Two bundles whose tasks overlap."""
    folder, some = tmp_path_factory.mktemp("halves"), dated(30)
    build(some[:35], toy_folder, folder / "a")
    build(some[35:], toy_folder, folder / "b")
    return folder


def test_a_merged_bundle_is_that_of_all_traces(halves, dated, toy_folder, tmp_path, differing):
    built = build(dated(30), toy_folder, tmp_path / "all")
    merged = merge([halves / "a", halves / "b"], tmp_path / "c")
    assert differing(merged.path, built.path) == set()
    for fact in ("counts", "tasks", "settings", "weights", "model", "segments", "eos_ids"):
        assert getattr(merged.manifest, fact) == getattr(built.manifest, fact), fact
    assert len(merged.tasks) == 2
    check_folder(tmp_path / "c")


def test_three_may_be_merged_in_steps(dated, toy_folder, tmp_path, differing):
    some = dated(12)
    for at, name in enumerate("abc"):
        build(some[8 * at : 8 * at + 8], toy_folder, tmp_path / name)
    at_once = merge([tmp_path / name for name in "abc"], tmp_path / "at once")
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "ab")
    merged = merge([tmp_path / "ab", tmp_path / "c"], tmp_path / "in steps")
    assert differing(merged.path, at_once.path) == set()


@pytest.mark.parametrize("bound", [60, 250, 700])
def test_thinned_bundles_merge_as_if_thinned_at_once(dated, toy_folder, tmp_path, differing, bound):
    """The one is thinned out, the other may not be; then it is, as far as the first."""
    some, config = dated(30), BuildConfig(corpus_tokens=bound, tasks="one")
    built = build(some, toy_folder, tmp_path / "all", config=config)
    build(some[:50], toy_folder, tmp_path / "a", config=config)
    build(some[50:], toy_folder, tmp_path / "b", config=config)
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert merged.manifest.settings == built.manifest.settings
    assert merged.manifest.settings.thinned > 0
    assert differing(merged.path, built.path) == set()


def test_what_was_learned_online_is_merged_too(halves, tmp_path):
    codec = Bundle.open(halves / "a").codec
    served = Records.of([codec.prompt("who?")], [codec.output("nobody")], 5.0, own=1)
    shutil.copytree(halves / "a", tmp_path / "a")
    amend(tmp_path / "a", lambda _: Change({new_name(): served.write}))
    merged = merge([tmp_path / "a", halves / "b"], tmp_path / "c")
    assert merged.manifest.counts["traces"] == 61
    assert merged.manifest.counts["own_outputs"] == 1
    assert merged.corpus.holds(codec.output("nobody"))
    assert merged.learned_files == []


def test_nothing_is_quoted_if_one_of_them_says_so(dated, toy_folder, tmp_path):
    some = dated(20)
    build(some[:20], toy_folder, tmp_path / "a")
    build(some[20:], toy_folder, tmp_path / "b", config=BuildConfig(text=False))
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert "Quotes were left out" in (tmp_path / "c" / "SUMMARY.md").read_text(encoding="utf-8")
    assert "Quotes were left out" not in (tmp_path / "a" / "SUMMARY.md").read_text("utf-8")


def test_other_weights_are_told(halves, tmp_path):
    shutil.copytree(halves / "b", tmp_path / "b")
    manifest = tmp_path / "b" / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(facts | {"weights": "f00"}))
    warned = []
    merged = merge([halves / "a", tmp_path / "b"], tmp_path / "c", warn=warned.append)
    assert len(warned) == 1
    assert "other weights" in warned[0]
    assert merged.manifest.weights is None


@pytest.mark.parametrize(
    ("fact", "value", "why"),
    [
        ("tokenizer", "f00", "another tokenizer"),
        ("vocab_size", 1000, "another vocabulary"),
        ("eos_ids", [1], "other ids that end an answer"),
    ],
)
def test_bundles_that_do_not_go_together_are_refused_by_name(halves, tmp_path, fact, value, why):
    shutil.copytree(halves / "b", tmp_path / "other")
    manifest = tmp_path / "other" / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(facts | {fact: value}))
    with pytest.raises(TascelError, match="other") as refused:
        merge([halves / "a", tmp_path / "other"], tmp_path / "c")
    assert why in str(refused.value) or fact == "vocab_size"  # its arrays do not fit, either
    assert not (tmp_path / "c").exists()


def test_a_bundle_of_another_tokenizer_is_refused(halves, tokenizer, toy_folder, dated, tmp_path):
    shutil.copytree(toy_folder, tmp_path / "model")
    another = copy.deepcopy(tokenizer)
    another.add_tokens(["<another>"])
    another.save_pretrained(tmp_path / "model")
    build(dated(3), tmp_path / "model", tmp_path / "b")
    with pytest.raises(BundleError, match="another tokenizer"):
        merge([halves / "a", tmp_path / "b"], tmp_path / "c")


def test_only_different_bundles_go_elsewhere(halves, tmp_path):
    a, b = halves / "a", halves / "b"
    for these in ([a], [a, a], [a, halves / "b" / ".." / "a"], []):
        with pytest.raises(RequestError, match="two bundles"):
            merge(these, tmp_path / "c")
    before = check_folder(a)
    with pytest.raises(RequestError, match="one of those"):
        merge([a, b], a)
    assert check_folder(a) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    with pytest.raises(BundleError, match="not empty"):
        merge([a, b], tmp_path / "full")
    with pytest.raises(BundleError, match="no such bundle"):
        merge([a, tmp_path / "none"], tmp_path / "c")


def test_damaged_records_are_refused_by_name(halves, tmp_path):
    shutil.copytree(halves / "b", tmp_path / "b")
    file = tmp_path / "b" / "records" / "000.npz"
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(BundleError, match=r"000\.npz"):
        merge([halves / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("second", ["find", "one"])
def test_settings_go_on_where_they_agree(dated, toy_folder, tmp_path, second):
    some = dated(10)
    build(some[:10], toy_folder, tmp_path / "a", config=BuildConfig(tasks="one", seed=3))
    build(
        some[10:], toy_folder, tmp_path / "b", config=BuildConfig(tasks=second, trust_traces=9000)
    )
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c").manifest.settings
    assert (merged.tasks, merged.seed, merged.trust_traces) == (
        "one" if second == "one" else "auto",
        3,
        9000,
    )


def test_records_are_written_in_several_files(dated, toy_folder, tmp_path, monkeypatch):
    from tascel import records as kept

    whole = build(dated(10), toy_folder, tmp_path / "a").records()
    monkeypatch.setattr(kept, "_IDS_A_FILE", 100)
    parts = build(dated(10), toy_folder, tmp_path / "b")
    assert len(parts.record_files) > 3
    assert np.array_equal(parts.records().keys(), whole.keys())


def test_records_are_in_order_of_time_and_a_build_does_not_mind_the_order(
    dated, toy_folder, tmp_path, differing
):
    some = [replace(trace, time=float(at)) for at, trace in enumerate(dated(10))]
    mixed = random.Random(0).sample(some, len(some))
    first, other = (build(s, toy_folder, tmp_path / n) for s, n in ((some, "a"), (mixed, "b")))
    assert first.records().times.tolist() == [*map(float, range(20))]
    assert differing(first.path, other.path) == set()


def test_a_bundle_that_is_replaced_meanwhile_is_not_merged(
    halves, dated, toy_folder, tmp_path, monkeypatch
):
    """It may be of another tokenizer now."""
    shutil.copytree(halves / "b", tmp_path / "b")
    whole = merging.whole

    def late(path, progress):
        if path == tmp_path / "b":
            build(dated(3), toy_folder, path)
        return whole(path, progress)

    monkeypatch.setattr(merging, "whole", late)
    with pytest.raises(BundleError, match="replaced meanwhile"):
        merge([halves / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()
