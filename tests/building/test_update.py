"""New traces, and what was learned online, go into a bundle's index."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.builder import BuildConfig, build
from tascel.building import relearn as relearning
from tascel.building import teach as teaching
from tascel.building import update as updating
from tascel.building.thin import PROMPTS
from tascel.building.update import HALF_LIFE, learn, worth_keeping
from tascel.bundle import Bundle
from tascel.errors import BundleError, TraceError
from tascel.filling import put_selection
from tascel.records import Records
from tascel.selection import FACTS, Selection
from tascel.store import replace as folders
from tascel.store.amend import Change, amend, new_name
from tascel.store.folder import check_folder

DAY = 86_400.0
NOW = 100 * DAY


@pytest.fixture(scope="module")
def half(dated, toy_folder, tmp_path_factory):
    return build(dated(20)[:20], toy_folder, tmp_path_factory.mktemp("half") / "bundle").path


@pytest.fixture
def bundle(half, tmp_path):
    return shutil.copytree(half, tmp_path / "bundle")


def served(codec, *texts, time=NOW):
    return Records.of(
        [codec.prompt(f"what of {text}?") for text in texts],
        [codec.output(text) for text in texts],
        time,
        own=1,
    )


def test_what_is_learned_later_is_learned_as_if_at_once(
    bundle, dated, toy_folder, tmp_path, differing
):
    some = dated(20)
    done = learn(bundle, some[20:], now=NOW, command=("tascel", "learn"))
    assert (done.read, done.served, done.refused, done.left_out) == (20, 0, 0, 0)
    built = build(some, toy_folder, tmp_path / "all")
    assert differing(bundle, built.path) == set()
    after = Bundle.open(bundle).manifest
    assert after.counts == built.manifest.counts
    assert after.command == ("tascel", "learn")
    check_folder(bundle)


def test_what_servers_learned_goes_into_the_index(bundle):
    codec = Bundle.open(bundle).codec
    for text in ("one", "two"):
        amend(bundle, lambda _, text=text: Change({new_name(): served(codec, text).write}))
    assert not Bundle.open(bundle).corpus.holds(codec.output("one"))
    done = learn(bundle, now=NOW)
    assert (done.read, done.served) == (0, 2)
    after = Bundle.open(bundle)
    assert after.learned_files == []
    assert after.corpus.holds(codec.output("one"))
    assert after.manifest.counts["own_outputs"] == 2
    assert after.manifest.counts["traces"] == 22


def test_what_was_served_joins_the_tasks_that_traces_name(bundle):
    codec = Bundle.open(bundle).codec
    some = Records.of(
        [codec.prompt("PLAY ME Devo (7)"), codec.prompt("turn the lamp in the loft to 9")],
        [codec.output("CALL queue"), codec.output("loft")],
        NOW,
    )
    amend(bundle, lambda _: Change({new_name(): some.write}))
    learn(bundle, now=NOW)
    after = Bundle.open(bundle)
    assert [(task.name, task.traces) for task in after.manifest.tasks] == [
        ("lights", 11),
        ("songs", 11),
    ]


def test_what_comes_meanwhile_is_learned_next_time(bundle, monkeypatch):
    codec = Bundle.open(bundle).codec
    amend(bundle, lambda _: Change({new_name(): served(codec, "one").write}))

    def during(*args):
        amend(bundle, lambda _: Change({new_name(): served(codec, "late").write}))
        return teaching.teach(*args)

    with monkeypatch.context() as patch:
        patch.setattr(relearning, "teach", during)
        assert learn(bundle, now=NOW).served == 1
    assert len(Bundle.open(bundle).learned_files) == 1
    assert learn(bundle, now=NOW).served == 1
    assert Bundle.open(bundle).corpus.holds(codec.output("late"))


def test_who_learns_does_not_wait_for_checksums(bundle, dated, monkeypatch):
    """Those of a large bundle take longer than a server waits to write."""
    codec = Bundle.open(bundle).codec
    sealed, failed = folders._sealed, []

    def write():
        try:
            change = Change({new_name(): served(codec, "late").write})
            amend(bundle, lambda _: change, wait=0.05)
        except BundleError as error:
            failed.append(error)

    def slowly(*args):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return sealed(*args)

    monkeypatch.setattr(folders, "_sealed", slowly)
    learn(bundle, dated(20)[20:], now=NOW)
    assert failed == []
    assert len(Bundle.open(bundle).learned_files) == 1


def test_without_news_nothing_changes(bundle):
    before = check_folder(bundle)
    done = learn(bundle, now=NOW)
    assert (done.read, done.served, done.left_out) == (0, 0, 0)
    assert check_folder(bundle) == before


def test_old_exchanges_are_left_out(bundle, dated):
    young = sum(trace.time >= NOW - 10 * DAY for trace in dated(20)[:20])
    done = learn(bundle, days=10, now=NOW)
    assert done.left_out == 20 - young
    assert Bundle.open(bundle).manifest.counts["outputs"] == young
    before = check_folder(bundle)
    with pytest.raises(BundleError, match="younger"):
        learn(bundle, days=10, now=NOW + 1000 * DAY)
    assert check_folder(bundle) == before


def test_traces_that_are_none_are_an_error(bundle, dated):
    before = check_folder(bundle)
    with pytest.raises(TraceError):
        learn(bundle, [replace(dated(1)[0], split="test")])
    with pytest.raises(TraceError, match="no such file"):
        learn(bundle, bundle / "nothing.jsonl")
    assert check_folder(bundle) == before


def test_a_selection_stays(bundle, dated):
    codec = Bundle.open(bundle).codec
    ids = np.array([1, 5, 9], np.int32)
    put_selection(bundle, Selection(ids, codec.vocab_size, 0.0, 0.0, 1.0, 5), codec)
    learn(bundle, dated(20)[20:], now=NOW)
    selection = Bundle.open(bundle).selection
    assert selection is not None
    assert selection.ids.tolist() == [1, 5, 9]


def test_neural_drafts_stay_as_long_as_the_tasks_do(bundle, dated):
    from tascel.draft.confidence import Confidence
    from tascel.filling import put_neural
    from tascel.neural import ADAPTER, Choice, CutDraft, Neural, TaskChoices
    from tascel.route.policy import Tally

    adapter = bundle.with_name("adapter")
    adapter.mkdir()
    for name in ADAPTER:
        (adapter / name).write_text("weights")
    tally = Tally(900.0, np.eye(65)[4] * 100, 20.0)
    draft = CutDraft("generic-1", 1, {1: {1: 0.1}}, Confidence().learned())
    choices = [TaskChoices("songs", (tally, tally), [Choice(0, False, tally)])]
    put_neural(bundle, Neural("f00", [draft], choices), [adapter], Bundle.open(bundle).codec)
    done = learn(bundle, dated(20)[20:], now=NOW)
    after = Bundle.open(bundle)
    assert done.dropped == ()
    assert after.neural is not None
    assert after.neural.of("songs") is not None
    other = [replace(trace, task="verse" if trace.task == "songs" else "lights", time=NOW)
             for trace in dated(20)]  # fmt: skip
    assert learn(bundle, other, days=0.5, now=NOW).dropped == ("the neural drafts",)
    assert Bundle.open(bundle).neural is None
    check_folder(bundle)


def test_a_full_index_keeps_what_is_of_use(dated, toy_folder, tmp_path):
    config = BuildConfig(corpus_tokens=450, tasks="one")
    path = build(dated(8), toy_folder, tmp_path / "b", config=config).path
    bundle = Bundle.open(path)
    assert bundle.manifest.settings.thinned == 0
    codec = bundle.codec
    used = replace(served(codec, "useful"), uses=np.array([9], np.float32))
    useless = replace(served(codec, "useless", time=NOW - 400 * DAY))
    both = Records.join([used, useless])
    amend(path, lambda _: Change({new_name(): both.write}))
    done = learn(path, dated(8), now=NOW)
    after = Bundle.open(path)
    assert done.left_out > 0
    assert after.corpus.holds(codec.output("useful"))
    assert not after.corpus.holds(codec.output("useless"))
    assert len(after.corpus) <= 450


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 20), st.floats(0, 9, width=32),
                  st.integers(0, 40)),
        min_size=1, max_size=40,
    ),
    st.integers(1, 60),
    st.none() | st.integers(0, 40),
)  # fmt: skip
def test_the_least_useful_go_first(rows, tokens, days):
    some = Records.of(
        [np.zeros(prompt, np.int32) for _, prompt, _, _ in rows],
        [np.zeros(output, np.int32) for output, _, _, _ in rows],
        [NOW - age * DAY for _, _, _, age in rows],
        uses=[uses for _, _, uses, _ in rows],
    )
    kept = worth_keeping(some, tokens, NOW, days)
    assert (np.diff(kept) > 0).all()
    young = [at for at, row in enumerate(rows) if days is None or row[3] <= days]
    assert bool(len(kept)) == bool(young)
    left = some.some(kept)
    fits = len(left.outputs.flat) + len(left) <= tokens
    assert len(kept) <= 1 or (fits and len(left.prompts.flat) <= PROMPTS * tokens)
    worth = [np.float32(row[2]) * 2 ** (-row[3] / HALF_LIFE) for row in rows]
    gone = set(young) - set(kept.tolist())
    if gone and len(kept):
        assert max(worth[at] for at in gone) <= min(worth[at] for at in kept) * (1 + 1e-6)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 9, width=32), st.integers(0, 40)),
             min_size=1, max_size=60),
    st.integers(10, 60),
    st.integers(1, 9),
)  # fmt: skip
def test_a_long_stream_is_bounded_along_the_way(rows, tokens, size):
    some = Records.of(
        [np.full(1, at, np.int32) for at in range(len(rows))],
        [np.zeros(output, np.int32) for output, _, _ in rows],
        [NOW - age * DAY for _, _, age in rows],
        uses=[uses for _, uses, _ in rows],
    )
    worth = updating._Worth(Records.empty(), tokens, NOW, None)
    for start in range(0, len(rows), size):
        worth.add(some.some(range(start, min(start + size, len(rows)))))
        held = Records.join(worth._parts)
        assert len(held.outputs.flat) + len(held) <= tokens + (1 + PROMPTS) * tokens
    left = worth.records()
    assert len(left.outputs.flat) + len(left) <= tokens
    at_once = worth_keeping(some, tokens, NOW)
    assert set(at_once.tolist()) <= set(left.prompts.flat.tolist())
    assert (np.diff(left.prompts.flat) > 0).all()


def test_more_than_memory_holds_is_learned_as_far_as_it_fits(bundle, dated, toy_folder, tmp_path):
    config = BuildConfig(corpus_tokens=450, tasks="one")
    path = build(dated(8), toy_folder, tmp_path / "b", config=config).path
    before = Bundle.open(path).manifest.counts["outputs"]
    done = learn(path, (trace for _ in range(40) for trace in dated(8)), now=NOW)
    after = Bundle.open(path)
    assert done.read == 640
    assert done.left_out == before + 640 - after.manifest.counts["outputs"] > 0
    assert len(after.corpus) <= 450


def test_damage_is_not_taken_over(bundle, dated):
    codec = Bundle.open(bundle).codec
    put_selection(
        bundle, Selection(np.array([1, 5], np.int32), codec.vocab_size, 0.0, 0.0, 1.0, 5), codec
    )
    file = bundle / FACTS
    file.write_bytes(file.read_bytes().replace(b"0", b"1", 1))
    before = {name: (bundle / name).read_bytes() for name in Bundle.open(bundle).manifest.files}
    with pytest.raises(BundleError, match=FACTS):
        learn(bundle, dated(20)[20:], now=NOW)
    assert {name: (bundle / name).read_bytes() for name in before} == before
