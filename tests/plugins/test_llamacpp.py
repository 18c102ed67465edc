"""What needs no llama.cpp: a GGUF's header, vocabularies, and the draft as it is called."""

from __future__ import annotations

import struct
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.draft.base import Proposal
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price
from tascel.engines.profile import Setting, kept_price
from tascel.errors import BundleError, ModelError
from tascel.plugins.llamacpp import LlamaDraft, check, passes, vocabulary_of
from tascel.plugins.llamacpp.header import form_of, read_header
from tascel.plugins.llamacpp.llama import _told
from tascel.plugins.llamacpp.worth import kept_worth, worth

VOCAB = 50
FREE = Price.free()
CHAINS = DraftConfig(trees=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, toy_folder, two_tasks):
    folder = tmp_path_factory.mktemp("llamacpp") / "bundle"
    build(two_tasks(120, labelled=True), toy_folder, folder)
    return Bundle.open(folder)


def test_a_header_says_what_the_converter_wrote(toy_gguf, tokenizer):
    header = read_header(toy_gguf)
    assert header["general.architecture"] == "llama"
    assert header["llama.block_count"] == 2
    assert header["llama.rope.freq_base"] == 10000.0
    assert form_of(header) == "F32"
    assert vocabulary_of(toy_gguf)[: len(tokenizer)] == [
        tokenizer.convert_ids_to_tokens(id_) for id_ in range(len(tokenizer))
    ]


def test_a_header_that_names_no_form_is_not_taken_for_float32():
    assert form_of({}) == form_of({"general.file_type": [0]}) == "unknown"
    assert form_of({"general.file_type": 7}) == "Q8_0"


@pytest.mark.parametrize("size", [0, 3, 4, 8, 20, 24, 40, 200, 1000])
def test_a_header_that_is_cut_off_is_refused(toy_gguf, tmp_path, size):
    file = tmp_path / "cut.gguf"
    file.write_bytes(toy_gguf.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"cut.gguf: (is no GGUF file|its header is cut off)"):
        read_header(file)


def test_other_versions_and_no_file_are_refused(toy_gguf, tmp_path):
    file = tmp_path / "new.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<I", 9) + toy_gguf.read_bytes()[8:])
    with pytest.raises(ModelError, match="version 9"):
        read_header(file)
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path / "none.gguf")


@given(at=st.integers(0, 999), byte=st.integers(0, 255))
def test_a_damaged_header_is_read_or_refused(toy_gguf, tmp_path_factory, at, byte):
    content = bytearray(toy_gguf.read_bytes())
    content[at] = byte
    file = tmp_path_factory.getbasetemp() / "damaged.gguf"
    file.write_bytes(content)
    with suppress(ModelError):
        assert isinstance(read_header(file), dict)


def test_the_vocabulary_of_the_bundle_is_found_in_the_gguf(bundle, toy_gguf):
    check(bundle, toy_gguf)


def test_another_vocabulary_is_refused_by_name(bundle, toy_gguf, tmp_path):
    other = tmp_path / "other.gguf"
    content = toy_gguf.read_bytes()
    name = b"the"
    written = struct.pack("<Q", len(name)) + name
    assert content.count(written) == 1
    other.write_bytes(content.replace(written, struct.pack("<Q", len(name)) + b"teh"))
    with pytest.raises(BundleError, match=r"id \d+ is 'the' .* and 'teh' in .*other.gguf"):
        check(bundle, other)


def test_a_shorter_vocabulary_is_refused(bundle, toy_gguf, monkeypatch):
    some = vocabulary_of(toy_gguf)[:100]
    monkeypatch.setattr("tascel.plugins.llamacpp.vocabulary.vocabulary_of", lambda gguf: some)
    with pytest.raises(BundleError, match=r"id 100 .* unknown to .*, which has 100"):
        check(bundle, toy_gguf)


class Scripted:
    """Offers what it is told and notes what it hears."""

    def __init__(self, *offers):
        self.offers, self.heard = [*offers], []

    def open(self, request):
        self.heard.append(("open", request.prompt.tolist()))
        return self

    def propose(self, room, price, pending=1):
        return Proposal.chain(self.offers.pop(0)[:room] if self.offers else [])

    def accept(self, tokens, offered, taken):
        self.heard.append((list(tokens), taken))

    def close(self):
        self.heard.append("close")


def drafting(*offers, **settings):
    script = Scripted(*offers)
    return script, LlamaDraft(script, FREE, VOCAB, settings.pop("longest", 100), **settings)


def ids(*tokens):
    return np.array(tokens, np.intc)


def test_what_became_of_a_draft_is_told_from_the_next_call():
    script, draft = drafting([7, 8, 9], [4], [])
    assert draft(ids(1, 2, 3)).tolist() == [7, 8, 9]
    assert draft(ids(1, 2, 3, 7, 8, 5)).tolist() == [4]
    assert draft(ids(1, 2, 3, 7, 8, 5, 4, 6)).tolist() == []
    assert script.heard == [("open", [1, 2]), ([3], 0), ([7, 8, 5], 2), ([4, 6], 1)]
    assert (draft.checked, draft.accepted, draft.calls) == (4, 3, 3)


@pytest.mark.parametrize(
    "next_", [(1, 2, 3), (1, 2, 4), (5, 6), (1, 2, 3, 7, 8, 5, 5), (1, 9, 3, 7)]
)
def test_another_text_is_another_request(next_):
    script, draft = drafting([7, 8], [])
    draft(ids(1, 2, 3))
    draft(ids(*next_))
    assert script.heard[2:4] == ["close", ("open", [*next_[:-1]])]


def test_the_end_of_an_answer_is_booked_once():
    script, draft = drafting([7, 8])
    draft(ids(1, 2, 3))
    assert draft.offered == 2
    draft.end([7, 9])
    draft.end([7, 9])
    assert script.heard[2:] == [([7, 9], 1), "close"]
    assert draft.offered == 0


def test_the_prompt_is_no_view_of_what_the_caller_goes_on_writing():
    _, draft = drafting([7])
    held = ids(1, 2, 3, 0, 0)
    draft(held[:3])
    held[:] = 9
    assert draft._row.tokens.tolist() == [1, 2, 3]


def test_nothing_is_offered_that_the_model_cannot_check():
    _, draft = drafting([7, 60, 8], [7, 8, 9], [7, 8, 9], longest=6, most=2)
    assert draft(ids(1, 2, 3)).tolist() == [7]  # 60 is no id
    assert draft(ids(1, 2, 3, 4)).tolist() == [7]  # one more fits
    assert draft(ids(1, 2, 3, 4, 5)).tolist() == []


def test_a_draft_that_is_always_wrong_is_rested():
    price = Price.from_points({1: 1.0, 2: 3.0})
    script = Scripted(*[[7]] * 50)
    draft = LlamaDraft(script, price, VOCAB, 100)
    held, offered = [1], 0
    for _ in range(40):
        held.append(2)
        offered += len(draft(ids(*held)))
    assert 1 <= offered <= 3


def test_a_draft_that_earns_outlives_some_refusals():
    """Ten tokens right bring more than the two refusals that follow cost."""
    price = Price.from_points({1: 1.0, 11: 4.0})
    script = Scripted(*[[7] * 10] * 8)
    draft = LlamaDraft(script, price, VOCAB, 1000)
    held = [1, 7]
    asked = []
    for right in (10, 10, 0, 0, 0, 10, 10):
        asked.append(len(draft(ids(*held))))
        held += [7] * right + [2]
    assert asked == [10] * 7


def test_what_a_task_earned_is_saved_up_as_the_config_says(bundle):
    price = Price.from_points({1: 1.0, 11: 4.0})
    for saved, rests in ((0.0, True), (24.0, False)):
        policy = bundle.draft(DraftConfig(saved=saved)).lanes[0].policy
        assert policy.allows(price)
        for right in (10, 10, 0, 0):
            policy.record(10, right)
        assert policy.allows(price) != rests


def test_an_answer_that_is_dropped_late_does_not_end_the_next_one():
    script, draft = drafting([7, 8], [9, 9])

    def answering(*prompt):
        yield 3
        draft(ids(*prompt, 3))
        yield 7

    first = _told(answering(1, 2), draft)
    assert [next(first), next(first)] == [3, 7]
    second = _told(answering(5, 6), draft)
    assert [next(second), next(second)] == [3, 7]
    first.close()
    assert draft.offered == 2
    assert script.heard.count("close") == 1
    second.close()
    assert script.heard[-2:] == [([7], 0), "close"]


def test_a_price_that_was_measured_beside_something_else_is_measured_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    rounds = [{1: 90.0, 2: 20.0}, {1: 10.0, 2: 30.0}]
    monkeypatch.setattr(passes, "measure", lambda *_: rounds.pop(0))
    setting = Setting("m", "w", "cpu", "Q8_0", 2, "llama.cpp of x")
    price = passes.price_of(SimpleNamespace(n_ctx=lambda: 512), setting)
    assert price.curve(1, 1).tolist() == [10.0, 20.0]
    assert np.array_equal(kept_price(setting).ms, price.ms)


def test_drafts_pay_where_passes_are_cheap_and_not_where_they_are_dear(
    bundle, tmp_path, monkeypatch
):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    cheap = worth(bundle, Price.from_points({1: 1000.0, 32: 1001.0}), CHAINS)
    dear = worth(bundle, Price.from_points({1: 1000.0, 2: 2000.0, 32: 32000.0}), CHAINS)
    assert cheap.pays
    assert cheap.gain > 2 * dear.gain
    assert not dear.pays
    assert dear.gain > 0.95  # nothing was drafted


def test_what_drafts_are_worth_is_asked_once(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    price = Price.from_points({1: 1000.0, 32: 1001.0})
    found = kept_worth(bundle, price, CHAINS)
    monkeypatch.setattr("tascel.plugins.llamacpp.worth.worth", lambda *_: 1 / 0)
    assert kept_worth(bundle, price, CHAINS) == found
    with pytest.raises(ZeroDivisionError):
        kept_worth(bundle, Price.from_points({1: 10.0, 32: 20.0}), CHAINS)
