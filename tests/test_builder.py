"""From traces to a bundle and back."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tascel import filling
from tascel.builder import BuildConfig, build
from tascel.building.thin import Thinned, thinned_by
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.errors import BundleError, TascelError, TraceError
from tascel.records import Records
from tascel.types import Request, Trace


def trace(prompt, output, **facts):
    return Trace(
        ({"role": "user", "content": prompt},), {"role": "assistant", "content": output}, **facts
    )


def some_traces(n=40):
    rooms = ("den", "hall", "attic", "kitchen")
    return [
        trace(f"light {i} in the {rooms[i % 4]}", f'{{"on": "{rooms[i % 4]}"}}') for i in range(n)
    ]


@pytest.fixture(scope="module")
def bundle(toy_folder, tmp_path_factory):
    return build(some_traces(), toy_folder, tmp_path_factory.mktemp("b") / "bundle")


def test_a_bundle_holds_the_outputs_in_order(bundle):
    codec = bundle.codec
    assert bundle.manifest.counts["traces"] == 40
    assert bundle.manifest.counts["distinct_outputs"] == 4
    for t in some_traces(4):
        assert bundle.corpus.holds(codec.answer(t))
    text = bundle.corpus.text
    expected = [i for t in some_traces() for i in (-1, *codec.answer(t).tolist())]
    assert text.tolist() == expected


def test_a_bundle_drafts_its_task(bundle):
    codec = bundle.codec
    session = bundle.draft().open(Request("r", codec.prompt("light 3 in the den")))
    from tascel.draft.price import Price

    drafted = codec.decode(session.propose(32, Price.free()).tokens.tolist())
    assert drafted.startswith('{"on": "')


def test_nothing_of_this_machine_is_in_the_manifest(bundle, toy_folder):
    text = (bundle.path / "manifest.json").read_text(encoding="utf-8")
    assert str(toy_folder.parent) not in text
    assert toy_folder.name in text


def test_the_summary_quotes_only_what_many_share(toy_folder, tmp_path):
    # few prompts, or one prompt often: nothing that many traces share
    private = [trace(f"q{i}", f"secret{i}") for i in range(3)] + [trace("card?", "secret 4929")] * 9
    traces = [*some_traces(), *private]
    build(traces, toy_folder, tmp_path / "a")
    text = (tmp_path / "a" / "SUMMARY.md").read_text(encoding="utf-8")
    assert '{"on": "' in text
    assert "secret" not in text
    build(traces, toy_folder, tmp_path / "b", config=BuildConfig(text=False))
    assert '{"on": "' not in (tmp_path / "b" / "SUMMARY.md").read_text(encoding="utf-8")


def test_only_training_traces_are_learned(toy_folder, tmp_path):
    traces = [trace("a", "yes", split="train"), trace("b", "no", split="test"), trace("c", "ok")]
    bundle = build(traces, toy_folder, tmp_path / "b")
    assert bundle.manifest.counts["traces"] == 2
    with pytest.raises(TraceError, match="for training"):
        build(traces[1:2], toy_folder, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_traces_that_the_template_refuses_are_counted(toy_folder, tokenizer, tmp_path):
    folder = tmp_path / "strict"
    shutil.copytree(toy_folder, folder)
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    picky = copy.deepcopy(tokenizer)
    picky.chat_template = strict + tokenizer.chat_template
    picky.save_pretrained(folder)
    system = {"role": "system", "content": "be brief"}
    odd = Trace((system, {"role": "user", "content": "a"}), {"role": "assistant", "content": "b"})
    bundle = build([*some_traces(), odd], folder, tmp_path / "b")
    assert bundle.manifest.counts["refused"] == 1
    with pytest.raises(TraceError, match="no system"):
        build([odd], folder, tmp_path / "c")


def test_a_path_of_traces_will_do(toy_folder, tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text('{"prompt": "a", "output": "b"}\n', encoding="utf-8")
    assert build(file, toy_folder, tmp_path / "b").manifest.counts["traces"] == 1
    assert build(str(file), toy_folder, tmp_path / "b").manifest.command == ()


def test_a_foreign_folder_is_refused_before_any_work(toy_folder, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("precious")

    def traces():
        raise AssertionError("read")
        yield

    with pytest.raises(BundleError):
        build(traces(), toy_folder, tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").read_text() == "precious"


def test_empty_and_one_token_outputs_are_learned(toy_folder, tmp_path):
    bundle = build([trace("a", ""), trace("b", "x")], toy_folder, tmp_path / "b")
    assert bundle.manifest.counts["tokens"] == 3
    assert len(bundle.draft().open(Request("r", np.array([5], np.int32))).state.matches)


def test_own_outputs_replace_references_and_survive_an_interruption(
    toy_folder, tmp_path, monkeypatch
):
    out = tmp_path / "b"
    config = BuildConfig(own_outputs=10, max_tokens=8, batch=4)
    seen = []

    def stop_half_way(stage, done, total):
        if stage == "answering":
            seen.append(done)
            if done == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(some_traces(), toy_folder, out, config=config, progress=stop_half_way)
    journal = tmp_path / ".b.answers.jsonl"
    kept = journal.read_text(encoding="utf-8").split("\n")[1:]
    assert len(kept) == 5
    journal.write_text("\n".join([*kept, '{"key": "torn']), encoding="utf-8")
    seen.clear()

    def note(stage, done, total):
        if stage == "answering":
            seen.append(done)

    bundle = build(some_traces(), toy_folder, out, config=config, progress=note)
    assert seen == [5, 6, 7, 8, 9, 10]  # the first five were not answered again
    assert not journal.exists()
    assert bundle.manifest.counts["own_outputs"] == 10

    from tascel.engines.hf.batch import answers
    from tascel.engines.hf.load import load_model

    codec = bundle.codec
    own = {
        tuple(ids.tolist())
        for _, ids in answers(
            load_model(toy_folder),
            [codec.prompt(t.messages) for t in some_traces()],
            codec.eos_ids, codec.end_id, 8, 4,
        )
    }  # fmt: skip
    learned = [
        tuple(part.tolist())
        for part in np.split(bundle.corpus.text, np.flatnonzero(bundle.corpus.text == -1))
    ]
    assert sum(part[1:] in own for part in learned if part) >= 10


def some_records(lengths, prompts=3):
    return Records.of(
        [np.full(prompts, at, np.int32) for at in range(len(lengths))],
        [np.zeros(length, np.int32) for length in lengths],
        0.0,
    )


def thinned_out(some, cap, parts=1, level=0):
    thinned = Thinned(cap, level)
    for at in range(parts):
        thinned.add(some.some(range(at, len(some), parts)))
    return thinned.level, sorted(thinned.records().keys().tolist())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=200), st.integers(5, 60), st.data())
def test_thinning_keeps_the_same_in_any_order_and_number_of_parts(lengths, cap, data):
    some = some_records(lengths)
    level, kept = thinned_out(some, cap)
    assert kept
    assert all(key % (1 << level) == 0 for key in kept)
    assert kept == sorted(thinned_by(some, level).keys().tolist())
    sizes = dict(zip(some.keys().tolist(), [n + 1 for n in lengths], strict=True))
    within = sum(sizes[key] for key in kept) <= cap and 3 * len(kept) <= 4 * cap
    assert within or not len(thinned_by(some, level + 1))
    mixed = some.some(data.draw(st.permutations(range(len(some)))))
    assert thinned_out(mixed, cap, data.draw(st.integers(1, 9))) == (level, kept)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=99), st.integers(5, 60), st.integers(0, 2))
def test_what_was_thinned_is_thinned_on_as_if_at_once(lengths, cap, level):
    some = some_records(lengths)
    at_once = thinned_out(some, cap)
    if level <= at_once[0]:
        assert thinned_out(thinned_by(some, level), cap, level=level) == at_once
        again = thinned_by(thinned_by(some, level), level + 1, level)
        assert again.keys().tolist() == thinned_by(some, level + 1).keys().tolist()


def test_another_tokenizers_bundle_is_refused(bundle, tokenizer, tmp_path):
    another = copy.deepcopy(tokenizer)
    another.add_tokens(["<another>"])
    another.save_pretrained(tmp_path)
    with pytest.raises(BundleError, match="other ids") as refused:
        Bundle.open(bundle.path, Codec.from_pretrained(tmp_path))
    assert "tascel build" in refused.value.remedy


def another_tokenizer(content):
    """The same file with two letters exchanged."""
    other = json.loads(content)
    ids = other["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]
    text = json.dumps(other).encode()
    return text + b" " * (len(content) - len(text))


@pytest.mark.parametrize("another", [True, False])
def test_a_bundle_drafts_with_its_own_tokenizer_and_says_when_it_is_not(bundle, tmp_path, another):
    folder = tmp_path / "b"
    shutil.copytree(bundle.path, folder)
    file = folder / "tokenizer" / "tokenizer.json"
    if another:
        file.write_bytes(another_tokenizer(file.read_bytes()))
    opened = Bundle.open(folder)
    prompt = bundle.codec.prompt("light 3 in the den")
    same = [b.draft().open(Request("r", prompt)) for b in (bundle, opened)]
    from tascel.draft.price import Price

    expected, found = (s.propose(32, Price.free()).tokens.tolist() for s in same)
    if another:  # a worse draft is no wrong answer
        with pytest.raises(TascelError, match="tokenizer"):
            _ = opened.codec
    else:
        assert expected == found
        assert opened.codec is opened.codec
        assert opened.codec.fingerprint == bundle.codec.fingerprint


def test_a_bundle_whose_tokenizer_is_broken_drafts_for_those_who_bring_theirs(bundle, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(bundle.path, folder)
    file = folder / "tokenizer" / "tokenizer.json"
    file.write_bytes(b" " * file.stat().st_size)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Bundle.open(folder).draft()
    with pytest.raises(TascelError, match="tokenizer"):
        _ = Bundle.open(folder).codec
    assert Bundle.open(folder, bundle.codec).draft()


def test_the_manifest_knows_what_the_codec_knows(bundle):
    assert set(bundle.manifest.eos_ids) == bundle.codec.eos_ids
    assert bundle.manifest.vocab_size == bundle.codec.vocab_size


def test_the_first_proposal_loads_neither_tokenizer_nor_torch(bundle):
    code = """
import sys, numpy
from tascel.bundle import Bundle
from tascel.draft.price import Price
from tascel.types import Request
session = Bundle.open(sys.argv[1]).draft().open(Request("r", numpy.array([5], numpy.int32)))
assert len(session.propose(8, Price.free()))
print([m for m in ("torch", "transformers") if m in sys.modules])
"""
    arguments = [sys.executable, "-c", code, str(bundle.path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_truncated_or_changed_files_never_crash(bundle, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged") / "b"
    shutil.copytree(bundle.path, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "tokenizer" not in p.parts)
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    cut = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        file.write_bytes(content[:cut])
    else:
        content[cut] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
    try:
        opened = Bundle.open(folder)
    except TascelError:
        return
    from tascel.draft.price import Price

    prompt = bundle.codec.prompt("light in the den")
    session = opened.draft().open(Request("r", prompt))
    for _ in range(4):
        proposal = session.propose(8, Price.free())
        assert (proposal.tokens < opened.manifest.vocab_size).all()
        session.accept(proposal.tokens[:2].tolist(), proposal, 2)


def test_a_failed_build_leaves_the_former_bundle(toy_folder, tmp_path, monkeypatch):
    out = tmp_path / "b"
    build(some_traces(), toy_folder, out)
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filling, "fill", fail)
    with pytest.raises(BundleError, match="full"):
        build(some_traces(8), toy_folder, out)
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before
    assert json.loads(before["manifest.json"])["counts"]["traces"] == 40
