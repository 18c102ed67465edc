"""What is forgotten is nowhere any more, and was there before."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from dataclasses import replace
from string import hexdigits

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tascel.builder import BuildConfig, build
from tascel.building import relearn as relearning
from tascel.building import teach as teaching
from tascel.building.forget import Which, forget, since
from tascel.building.workspace import workspace
from tascel.bundle import Bundle
from tascel.draft.confidence import Confidence
from tascel.errors import BundleError, RequestError
from tascel.filling import put_neural, put_selection
from tascel.neural import ADAPTER, Choice, CutDraft, Neural, TaskChoices
from tascel.records import Records
from tascel.route.policy import Tally
from tascel.selection import Selection
from tascel.store.amend import Change, amend, new_name
from tascel.store.folder import check_folder
from tascel.types import Trace

DAY = 86_400.0
NOW = 100 * DAY
SECRET = "Xavier Quuzz"


def secret(at):
    return Trace(
        ({"role": "user", "content": f"say it, number {at}"},),
        {"role": "assistant", "content": f"{SECRET} ~~{at % 3}~~ quaffs vulpine jackdaws"},
        task="vault",
        group="client vxq",
        time=NOW - 70 * DAY,
    )


def grams_of(ids):
    """All runs of three ids."""
    flat = np.asarray(ids).reshape(-1)
    if flat.dtype.kind not in "iuf" or len(flat) < 3:
        return set()
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)].astype(np.float64)
    return set(zip(*(flat[i : len(flat) - 2 + i].tolist() for i in range(3)), strict=True))


def decoded(file):
    """The arrays of a file, whatever it is."""
    if file.suffix == ".npy":
        return [np.load(file)]
    if file.suffix == ".npz":
        with np.load(file) as found:
            return [found[name] for name in found.files]
    if file.suffix == ".safetensors":
        return [*load_file(file).values()]
    content = file.read_bytes()
    if file.suffix in (".json", ".md", ".jsonl", ".partial"):
        return [np.frombuffer(content, np.uint8)]
    raise AssertionError(f"{file} is of no known kind")


def everything(folder, bundle):
    """All runs of three ids, and all text, in every file of a folder but a bundle's tokenizer."""
    grams, text = set(), ""
    for file in folder.rglob("*"):
        if not file.is_file() or file.is_relative_to(bundle / "tokenizer") or ".lock" in file.name:
            continue
        for array in decoded(file):
            grams |= grams_of(array)
            if array.dtype == np.uint8:
                text += array.tobytes().decode(errors="replace") + "\n"
        text += f"{file.relative_to(folder)}\n"
    return grams, unicodedata.normalize("NFC", text)


def only_in(forgotten, left):
    """The runs of three ids that only outputs to be forgotten hold."""
    kept = set().union(*(grams_of(ids) for ids in (*left.outputs, *left.prompts)))
    return set().union(*(grams_of(ids) for ids in forgotten.outputs)) - kept


def spoken(grams, codec, left):
    """Their text, where it stands in nothing that stays and in no checksum."""
    stays = "\n".join(codec.decode(ids.tolist()) for ids in (*left.outputs, *left.prompts))
    texts = {codec.decode([int(id_) for id_ in gram]) for gram in grams}
    telling = {text for text in texts if len(text.strip()) > 2 and set(text) - set(hexdigits)}
    return {text for text in telling if text not in stays}


def drafts_of(path, ids, folder):
    """Some neural draft whose adapter holds these ids."""
    folder.mkdir()
    for name in ADAPTER:
        if name.endswith(".safetensors"):
            save_file({"lora": ids}, folder / name)
        else:
            (folder / name).write_text(json.dumps({"quotes": SECRET}))
    tally = Tally(900.0, np.eye(65)[4] * 100, 20.0)
    draft = CutDraft("generic-1", 1, {1: {1: 0.1}}, Confidence().learned())
    names = [entry.name for entry in Bundle.open(path).manifest.tasks] or [None]
    both = (tally,) if names == [None] else (tally, tally)
    choices = [TaskChoices(name, both, [Choice(0, False, tally)]) for name in names]
    put_neural(path, Neural("f00", [draft], choices), [folder], Bundle.open(path).codec)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def full(dated, toy_folder, tmp_path_factory):
    """A bundle that holds the secret everywhere: in what it was built from, in what it learned
    since, in its page, its tasks, its selection and a neural draft."""
    path = tmp_path_factory.mktemp("full") / "bundle"
    some = dated(20)
    built = build([*some[:25], *map(secret, range(12)), *some[25:]], toy_folder, path)
    codec = built.codec
    said = codec.answer(secret(7))
    put_selection(path, Selection(np.unique(said), codec.vocab_size, 0.0, 0.0, 1.0, 5), codec)
    drafts_of(path, said, path.with_name("adapter"))
    learned = [secret(50), secret(51), some[3]]
    records = Records.of(
        [codec.prompt(trace.messages) for trace in learned],
        [codec.answer(trace) for trace in learned],
        NOW,
        own=1,
    )
    amend(path, lambda _: Change({new_name(): records.write}))
    return path


@pytest.fixture
def bundle(full, tmp_path):
    return shutil.copytree(full, tmp_path / "bundle")


def leave_behind(bundle):
    """What killed processes leave beside a bundle."""
    (bundle.with_name(".bundle.answers.jsonl")).write_text(json.dumps({"key": SECRET}))
    for kind in ("building", "writing", "former"):
        folder = bundle.with_name(f".bundle.{kind}") / "0123"
        folder.mkdir(parents=True)
        (folder / "part.json").write_text(json.dumps(SECRET))


@pytest.mark.parametrize("by", ["match", "age"])
def test_nothing_is_left_of_what_is_forgotten(bundle, tmp_path, by):
    opened, records = Bundle.with_records(bundle)
    codec = opened.codec
    at = [SECRET in codec.decode(ids.tolist()) for ids in records.outputs]
    forgotten, left = (records.some(np.flatnonzero(np.array(at) == which)) for which in (1, 0))
    if by == "age":  # those that were learned since are younger
        served = Records.of([[5]], [[6]], NOW)
        drop = opened.learned_files
        amend(bundle, lambda _: Change({new_name(): served.write}, drop))
    unique = only_in(forgotten, left)
    phrases = spoken(unique, codec, left)
    assert len(unique) > 30
    assert len(phrases) > 20
    leave_behind(bundle)

    grams, text = everything(tmp_path, bundle)
    assert unique <= grams or by == "age"
    for said in (SECRET, "vault", "client vxq"):
        assert said in text
    assert any(phrase in (bundle / "SUMMARY.md").read_text() for phrase in phrases)
    for name in ("all/text.npy", "all/templates.npy", "records/000.npz"):
        assert set().union(*map(grams_of, decoded(bundle / name))) & unique, name

    which = Which(re.compile(SECRET)) if by == "match" else Which(before=NOW - 60 * DAY)
    done = forget(bundle, which)
    assert (done.found, done.total) == ((14, 55) if by == "match" else (12, 53))
    assert done.dropped == ("the selection", "the neural drafts")

    grams, text = everything(tmp_path, bundle)
    assert not unique & grams
    assert not [phrase for phrase in phrases if phrase in text]
    for said in (SECRET, "vault", "client vxq"):
        assert said not in text
    after, records = Bundle.with_records(bundle)
    assert len(records) == done.total - done.found
    assert after.manifest.counts["traces"] == after.manifest.counts["outputs"] == len(records)
    assert [task.name for task in after.tasks] == ["lights", "songs"]
    check_folder(bundle)
    assert after.draft()
    assert sorted(p.name for p in tmp_path.iterdir() if "lock" not in p.name) == ["bundle"]


def test_what_is_left_is_what_a_build_without_it_gives(dated, toy_folder, tmp_path, differing):
    some = dated(20)
    build([*some[:25], *map(secret, range(12)), *some[25:]], toy_folder, tmp_path / "a")
    build(some, toy_folder, tmp_path / "b")
    forget(tmp_path / "a", Which(re.compile("jackdaws")))
    assert differing(tmp_path / "a", tmp_path / "b") == set()


def test_prompts_are_searched_too_and_both_conditions_hold(bundle):
    assert forget(bundle, Which(re.compile("number 7")), dry_run=True).found == 1
    assert forget(bundle, Which(re.compile("number"), NOW - 60 * DAY), dry_run=True).found == 12
    assert forget(bundle, Which(re.compile("number"), NOW - 80 * DAY), dry_run=True).found == 0


def test_a_dry_run_changes_nothing(bundle):
    before = check_folder(bundle)
    leave_behind(bundle)
    done = forget(bundle, Which(re.compile(SECRET)), dry_run=True)
    assert (done.found, len(done.dropped)) == (14, 2)
    assert check_folder(bundle) == before
    assert bundle.with_name(".bundle.former").exists()


def test_where_nothing_matches_nothing_changes_but_leftovers_go(bundle):
    before = check_folder(bundle)
    leave_behind(bundle)
    done = forget(bundle, Which(re.compile("never said")))
    assert (done.found, done.dropped) == (0, ())
    assert check_folder(bundle) == before
    assert not bundle.with_name(".bundle.former").exists()


def test_a_bundle_that_is_being_built_is_left_alone(bundle):
    before, codec = check_folder(bundle), Bundle.open(bundle).codec
    with (
        workspace(bundle, [1], codec) as place,
        pytest.raises(BundleError, match="another process is building"),
    ):
        forget(bundle, Which(re.compile(SECRET)))
    assert place.folder.parent.exists() is False
    assert check_folder(bundle) == before


def test_killed_after_the_swap_it_ends_when_it_is_asked_again(bundle, monkeypatch):
    """The former bundle lies beside the new one then."""
    former = shutil.copytree(bundle, bundle.with_name("before"))
    forget(bundle, Which(re.compile(SECRET)))
    former.rename(bundle.with_name(".bundle.writing"))
    assert forget(bundle, Which(re.compile(SECRET))).found == 0
    assert sorted(p.name for p in bundle.parent.iterdir() if "lock" not in p.name) == ["bundle"]


def test_not_everything_can_be_forgotten(bundle):
    before = check_folder(bundle)
    with pytest.raises(BundleError, match="all of its 55"):
        forget(bundle, Which(re.compile("")))
    assert check_folder(bundle) == before
    with pytest.raises(RequestError, match="what to forget"):
        Which()


@pytest.mark.parametrize("moment", ["learning", "writing", "swapping"])
def test_interrupted_it_leaves_the_former_bundle_whole(bundle, monkeypatch, moment):
    before = check_folder(bundle)

    def stop(*_, **__):
        raise KeyboardInterrupt

    place = {
        "learning": (teaching, "Lessons"),
        "writing": (teaching.filling, "fill"),
        "swapping": (relearning, "_late"),
    }[moment]
    with monkeypatch.context() as patch:
        patch.setattr(*place, stop)
        with pytest.raises(KeyboardInterrupt):
            forget(bundle, Which(re.compile(SECRET)))
    assert check_folder(bundle) == before
    assert forget(bundle, Which(re.compile(SECRET))).found == 14


@pytest.fixture
def meanwhile(monkeypatch):
    """`meanwhile(what)` runs once, while a bundle is learned anew."""

    def arrange(what):
        def during(*args):
            what()
            return teaching.teach(*args)

        monkeypatch.setattr(relearning, "teach", during)

    return arrange


def one(codec, text):
    return Records.of([codec.prompt(f"what of {text}?")], [codec.output(text)], NOW)


def test_what_comes_meanwhile_stays_unless_it_is_to_be_forgotten(bundle, meanwhile):
    opened, records = Bundle.with_records(bundle)
    codec = opened.codec
    fresh, both = one(codec, "fresh"), Records.join([one(codec, "new"), one(codec, SECRET)])
    names = [new_name() for _ in range(4)]

    def come():
        # one file as it is, one of which half is forgotten, one that is, and one that joins what
        # was read already with something new
        joined = Records.join([*map(opened.records_in, opened.learned_files), one(codec, "more")])
        parts = zip(names, (fresh, both, one(codec, SECRET), joined), strict=True)
        add = {name: part.write for name, part in parts}
        amend(bundle, lambda _: Change(add, opened.learned_files))

    meanwhile(come)
    assert forget(bundle, Which(re.compile(SECRET))).found == 14
    after, left = Bundle.with_records(bundle)
    assert len(left) == len(records) - 14 + 3
    late = Records.join([after.records_in(name) for name in after.learned_files])
    said = {codec.decode(ids.tolist()) for ids in late.outputs}
    assert said == {"fresh", "new", "more"}
    assert names[0] in after.learned_files
    assert not set(names[1:]) & set(after.learned_files)
    check_folder(bundle)


def test_a_bundle_that_is_replaced_meanwhile_is_left_alone(bundle, dated, toy_folder, meanwhile):
    meanwhile(lambda: build(dated(5), toy_folder, bundle))
    with pytest.raises(BundleError, match="replaced meanwhile"):
        forget(bundle, Which(re.compile(SECRET)))
    assert Bundle.open(bundle).manifest.counts["traces"] == 10
    check_folder(bundle)


def test_own_answers_are_forgotten_like_others(dated, toy_folder, tmp_path):
    config = BuildConfig(own_outputs=9, max_tokens=6)
    built = build(dated(10), toy_folder, tmp_path / "b", config=config)
    records = built.records()
    said = built.codec.decode(records.outputs[int(np.flatnonzero(records.own)[0])].tolist())
    own = np.flatnonzero(
        [re.search(re.escape(said), built.codec.decode(i.tolist())) for i in records.outputs]
    )
    forget(tmp_path / "b", Which(re.compile(re.escape(said))))
    left = Bundle.open(tmp_path / "b").manifest.counts
    assert left["own_outputs"] == 9 - int(records.own[own].sum())


@pytest.mark.parametrize(
    ("age", "seconds"), [("90m", 5400), ("12h", 43_200), ("30d", 30 * DAY), ("1.5w", 10.5 * DAY)]
)
def test_ages(age, seconds):
    assert since(age, NOW) == NOW - seconds
    assert since("0d") > NOW


@pytest.mark.parametrize("age", ["", "30", "d", "-3d", "3 d", "3y", "nan d", "1e9d"])
def test_what_is_no_age_is_refused(age):
    with pytest.raises(RequestError, match="no age"):
        since(age)


def test_a_record_without_time_is_as_old_as_its_bundle(dated, toy_folder, tmp_path):
    undated = [replace(trace, time=None) for trace in dated(5)]
    build(undated, toy_folder, tmp_path / "b")
    assert forget(tmp_path / "b", Which(before=since("1h")), dry_run=True).found == 0
