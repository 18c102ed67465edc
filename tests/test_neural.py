"""What a bundle keeps of neural drafts, and how they are held in memory."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import tascel
from tascel import filling
from tascel.adapt.distill.config import DistillConfig
from tascel.adapt.distill.pupil import Pupil
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.draft.confidence import Confidence
from tascel.draft.price import Price
from tascel.engines.hf.load import fingerprint, load_model
from tascel.engines.hf.shelf import Shelf
from tascel.errors import BundleError
from tascel.filling import put_neural, put_selection
from tascel.neural import (
    ADAPTER,
    FACTS,
    Choice,
    CutDraft,
    Neural,
    TaskChoices,
    adapter_folder,
    read_neural,
)
from tascel.route.policy import Tally
from tascel.selection import Selection
from tascel.store.folder import check_folder, open_folder
from tascel.types import Request, Trace

POINTS = {1: {1: 0.1, 8: 0.2}, 4: {4: 0.2}}
PRICE = Price.from_points({1: 1.0, 33: 1.6})
GOOD = Tally(900.0, np.eye(65)[4] * 100, 20.0)
BAD = Tally(100.0, np.eye(65)[4] * 100)


def confidence():
    known = Confidence()
    for at in range(40):
        known.learn(at % 3, 0.97, True)
        known.learn(0, 0.2, at % 5 == 0)
    return known.learned()


def neural(target, drafts=1, extended=False):
    cuts = [CutDraft(f"generic-{at + 1}", 1, POINTS, confidence()) for at in range(drafts)]
    choices = [Choice(at, extended, GOOD) for at in range(drafts)]
    return Neural(target, cuts, [TaskChoices(None, (BAD,), choices)])


@pytest.fixture(scope="module")
def codec(toy_folder):
    return Codec.from_pretrained(toy_folder)


@pytest.fixture(scope="module")
def adapter(toy_folder, codec, tmp_path_factory):
    """An adapter that changes the first layer."""
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    pupil = Pupil(load_model(toy_folder), 1, codec.end_id, DistillConfig(rank=2))
    pupil.learn([{"input_ids": [5, 6, 7, 8, 9], "answer": 3}], 2, 0.05)
    pupil.save(folder)
    return folder


@pytest.fixture(scope="module")
def fresh(toy_folder, tmp_path_factory):
    """A bundle of a few answers."""
    path = tmp_path_factory.mktemp("neural") / "bundle"
    traces = [
        Trace(
            ({"role": "user", "content": f"light {i}"},),
            {"role": "assistant", "content": f"lamp {i % 3}"},
        )
        for i in range(12)
    ]
    tascel.build(traces, toy_folder, path)
    return path


@pytest.fixture
def built(fresh, tmp_path):
    return shutil.copytree(fresh, tmp_path / "place" / "bundle")


@pytest.fixture
def stored(built, toy_folder, codec, adapter):
    put_neural(built, neural(fingerprint(toy_folder)), [adapter], codec)
    return built


def test_what_was_stored_is_read_back(stored, toy_folder, adapter):
    check_folder(stored)
    found = Bundle.open(stored).neural
    assert found is not None
    assert found.target == fingerprint(toy_folder)
    (draft,) = found.drafts
    assert (draft.name, draft.layers, draft.points) == ("generic-1", 1, POINTS)
    np.testing.assert_array_equal(draft.confidence.counts, confidence().counts)
    task = found.of(None)
    assert task is not None
    assert found.of("lights") is None
    (choice,) = task.choices
    assert (choice.draft, choice.extended) == (0, False)
    for tally, wanted in ((choice.tally, GOOD), (task.ngrams[0], BAD)):
        assert (tally.tokens, tally.drafting) == (wanted.tokens, wanted.drafting)
        np.testing.assert_array_equal(tally.passes, wanted.passes)
    for name in ADAPTER:
        assert (adapter_folder(stored, 0) / name).read_bytes() == (adapter / name).read_bytes()


def test_a_draft_costs_its_share_of_the_models_pass():
    price = CutDraft("x", 1, POINTS, Confidence()).price(Price.from_points({1: 40.0, 8: 50.0}))
    assert price.plain() == pytest.approx(4.0)
    assert price.curve(8, 0)[0] == pytest.approx(8.0)


def test_other_files_stay_and_former_drafts_go(stored, codec, toy_folder, adapter):
    before = open_folder(stored).files
    ids = Selection(np.array([1, 2], np.int32), codec.vocab_size, 0.01, 0.0, 1.0, 30)
    put_selection(stored, ids, codec)
    assert Bundle.open(stored).neural is not None
    put_neural(stored, neural(fingerprint(toy_folder), 2), [adapter, adapter], codec)
    opened = Bundle.open(stored)
    assert opened.selection is not None
    assert len(opened.neural.drafts) == 2
    put_neural(stored, Neural("x", (), ()), [], codec)
    after = open_folder(stored).files
    assert [name for name in after if name.startswith("neural/")] == [FACTS]
    assert all(after[name] == entry for name, entry in before.items() if "neural/" not in name)


def test_killed_while_writing_the_former_bundle_stays(
    built, codec, adapter, toy_folder, monkeypatch
):
    before = open_folder(built)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(filling, "write_neural", killed)
    with pytest.raises(KeyboardInterrupt):
        put_neural(built, neural(fingerprint(toy_folder)), [adapter], codec)
    assert check_folder(built) == before
    assert [path.name for path in built.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    "change",
    [
        lambda f: [f],
        lambda f: f | {"format": 2},
        lambda f: f | {"target": 3},
        lambda f: f | {"drafts": [f["drafts"][0] | {"layers": 0}]},
        lambda f: f | {"drafts": [f["drafts"][0] | {"layers": 10**12}]},
        lambda f: f | {"drafts": [f["drafts"][0] | {"points": {"1": {"1": 1, "1" + 12 * "0": 1}}}]},
        lambda f: f | {"drafts": [f["drafts"][0] | {"points": {}}]},
        lambda f: f | {"drafts": [f["drafts"][0] | {"points": {"1": {"1": -1}}}]},
        lambda f: f | {"drafts": [f["drafts"][0] | {"points": {"4": {"4": 1}}}]},
        lambda f: f | {"drafts": [f["drafts"][0] | {"confidence": {}}]},
        lambda f: f | {"drafts": f["drafts"] * 2},
        lambda f: f | {"drafts": []},
        lambda f: f | {"tasks": [f["tasks"][0] | {"task": "lights"}]},
        lambda f: f | {"tasks": [f["tasks"][0] | {"ngrams": []}]},
        lambda f: f | {"tasks": [f["tasks"][0] | {"ngrams": [{"tokens": 1}]}]},
        lambda f: {"format": 1},
    ],
)
def test_a_hostile_file_is_refused(stored, change):
    path = stored / FACTS
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(BundleError, match="neural"):
        read_neural(stored, [])


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(stored, content):
    (stored / FACTS).write_bytes(content)
    with pytest.raises(BundleError, match=r"neural\.json"):
        read_neural(stored, [])


@pytest.fixture
def shelf_of(stored, toy_folder, codec, adapter):
    """A shelf of two drafts of one layer, and the model that they are for."""
    put_neural(stored, neural(fingerprint(toy_folder), 2), [adapter, adapter], codec)
    model, found = load_model(toy_folder), Bundle.open(stored).neural

    def make(most_bytes):
        size = model.config.vocab_size
        return Shelf(model, found, stored, PRICE, size, most_bytes)

    return make, model


REQUEST = Request("r", np.array([5, 6, 7], np.int32), max_tokens=12)


def layer_bytes(model):
    return sum(weight.nbytes for weight in model.model.layers[0].parameters())


def test_a_draft_is_made_when_it_is_first_used(shelf_of):
    make, model = shelf_of
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    shelf = make(1 << 30)
    draft = shelf.draft(0)
    assert shelf.held == {}
    session = draft.open(REQUEST)
    assert shelf.held == {"generic-1": layer_bytes(model)}
    session.propose(8, PRICE)
    session.close()
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_the_least_used_draft_is_let_go(shelf_of):
    make, model = shelf_of
    shelf = make(layer_bytes(model))
    first, second = shelf.draft(0), shelf.draft(1)
    old = first.open(REQUEST)
    kept = old.draft
    again = second.open(REQUEST)
    assert [*shelf.held] == ["generic-2"]
    fresh = first.open(REQUEST)
    assert [*shelf.held] == ["generic-1"]
    assert fresh.draft is not kept
    free = Price.free()
    alone = [s.propose(6, free).tokens.tolist() for s in (old, fresh)]
    for session in (old, fresh):
        session.close()
    rows = [first.open(REQUEST), first.open(REQUEST)]
    rows[0] = type(fresh)(kept, kept.open(REQUEST))  # one opened before it was let go
    together = first.propose_many(rows, [6, 6], free, 2)
    for proposal, lone in zip(together, alone, strict=True):  # two rows share what a pass costs
        drafted = proposal.tokens.tolist()
        assert drafted
        assert drafted == lone[: len(drafted)]
    for session in (*rows, again):
        session.close()
    kept.confidence.learn(0, 0.2, True)
    assert fresh.draft.confidence.learned().counts.sum() == confidence().counts.sum()


def test_a_draft_that_is_too_large_drafts_nothing_and_says_so_once(shelf_of):
    make, model = shelf_of
    shelf = make(layer_bytes(model) - 1)
    with pytest.warns(UserWarning, match="more than all drafts may hold") as heard:
        sessions = [shelf.draft(0).open(REQUEST) for _ in range(3)]
    assert len(heard) == 1
    assert shelf.held == {}
    for session in sessions:
        assert not len(session.propose(8, PRICE))
        assert session.spent == 0
        session.close()
    assert not any(map(len, shelf.draft(0).propose_many(sessions, [8] * 3, PRICE, 3)))


def test_a_damaged_adapter_drafts_nothing(shelf_of, stored):
    make, _ = shelf_of
    (adapter_folder(stored, 1) / ADAPTER[1]).write_bytes(b"no weights")
    shelf = make(1 << 30)
    with pytest.warns(UserWarning, match="is left out"):
        session = shelf.draft(1).open(REQUEST)
    assert not len(session.propose(8, PRICE))


@pytest.mark.parametrize("extended", [False, True])
def test_answers_are_the_models_own(built, toy_folder, codec, adapter, extended):
    put_neural(built, neural(fingerprint(toy_folder), extended=extended), [adapter], codec)
    plain = tascel.load(None, model=toy_folder)
    drafted = tascel.load(built, model=toy_folder)
    drafted.price = Price.free()
    prompts = [f"light {at}" for at in range(3)]
    wanted = [plain.generate(prompt, max_tokens=16).tokens for prompt in prompts]
    found = [drafted.generate(prompt, max_tokens=16) for prompt in prompts]
    assert [answer.tokens for answer in found] == wanted
    assert sum(answer.stats.offered.get("neural", 0) for answer in found) > 0
    requests = [drafted.request(prompt, max_tokens=16) for prompt in prompts]
    events = [event for event in drafted.run_many(requests, rows=3) if event.completion]
    ended = {event.request.id: event.completion.tokens for event in events}
    assert [ended[request.id] for request in requests] == wanted
