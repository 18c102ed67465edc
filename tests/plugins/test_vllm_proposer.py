"""What vLLM makes and calls, without vLLM: a stand-in for its config, a real bundle."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.draft.base import Proposal
from tascel.draft.breaker import Breaker
from tascel.draft.merge import afford
from tascel.draft.ngram import DraftConfig
from tascel.engines.profile import read_price
from tascel.errors import BundleError, TascelError
from tascel.plugins.vllm import Proposer
from tascel.plugins.vllm.options import Options, check_version
from tascel.types import Request, Trace

MOST, LONGEST = 12, 200


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    module = ModuleType("vllm")
    module.__version__ = "0.32.0+cpu"
    monkeypatch.setitem(sys.modules, "vllm", module)
    sampler = ModuleType("vllm.v1.sample.rejection_sampler")
    sampler.expand_batch_to_tokens = lambda x, ends, count: torch.full((count,), 1e9)
    monkeypatch.setitem(sys.modules, sampler.__name__, sampler)
    return module


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, toy_folder, two_tasks):
    folder = tmp_path_factory.mktemp("vllm") / "bundle"
    build(two_tasks(120, labelled=True), toy_folder, folder)
    return folder


@pytest.fixture
def config(toy_folder, bundle):
    """`config(price=…)`: what vLLM hands to a proposer, in so far as it is looked at."""

    def make(**options):
        return SimpleNamespace(
            additional_config={"tascel": {"bundle": str(bundle)} | options},
            speculative_config=SimpleNamespace(num_speculative_tokens=MOST),
            parallel_config=SimpleNamespace(tensor_parallel_size=1),
            device_config=SimpleNamespace(device_type="cpu"),
            model_config=SimpleNamespace(
                model=str(toy_folder),
                tokenizer=str(toy_folder),
                max_model_len=LONGEST,
                get_vocab_size=lambda: 272,
                quantization=None,
                enforce_eager=True,
                dtype=torch.float32,
            ),
        )

    return make


@pytest.fixture
def price_file(tmp_path):
    file = tmp_path / "price.json"
    ms = {1: {1: 10.0, 8: 10.5, 64: 16.0}, 8: {8: 14.0, 64: 20.0}}
    file.write_text(json.dumps({"ms": ms}))
    return file


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1+cpu", "0.33.0", "0.33.1rc1.dev12"])
def test_known_versions_are_let_in(version):
    check_version(version)


@pytest.mark.parametrize("version", ["0.31.9", "0.34.0", "1.0", "nightly"])
def test_other_versions_are_refused_by_name(version, vllm, config):
    vllm.__version__ = version
    with pytest.raises(TascelError, match=f"this is vLLM {version}; the proposer knows 0.32"):
        Proposer(config())


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "says nothing under tascel"),
        (None, "says nothing under tascel"),
        ({"tascel": "bundle"}, "says nothing under tascel"),
        ({"tascel": {}}, "names no bundle"),
        ({"tascel": {"bundle": 7}}, "names no bundle"),
        ({"tascel": {"bundle": "b", "tasks": 1, "rate": 2}}, "has no option rate, tasks"),
        ({"tascel": {"bundle": "b", "price": 1}}, "price is no text"),
    ],
)
def test_options_that_say_nothing_are_refused(given, what):
    with pytest.raises(TascelError, match=what):
        Options.of(given)


def test_a_foreign_bundle_is_refused(config, tmp_path, tokenizer, toy_folder):
    from tokenizers import AddedToken

    folder = tmp_path / "other"
    tokenizer.save_pretrained(folder)
    other = type(tokenizer).from_pretrained(folder)
    other.add_tokens([AddedToken("light")])
    other.save_pretrained(folder)
    given = config()
    given.model_config.tokenizer = str(folder)
    with pytest.raises(BundleError, match="was built with the tokenizer of toy-model"):
        Proposer(given)


def test_sampling_on_a_cpu_is_repaired_where_it_is_broken(config, price_file):
    sampler = sys.modules["vllm.v1.sample.rejection_sampler"]
    Proposer(config(price=str(price_file)))
    ends = torch.tensor([2, 2, 5], dtype=torch.int32)
    expanded = sampler.expand_batch_to_tokens(torch.tensor([0.3, 0.5, 0.0]), ends, 5, 0, 1)
    assert torch.equal(expanded, torch.tensor([0.3, 0.3, 1.0, 1.0, 1.0]))
    right = sampler.expand_batch_to_tokens
    Proposer(config(price=str(price_file)))
    assert sampler.expand_batch_to_tokens is right


def test_without_a_price_there_is_a_warning(cache, config):
    with pytest.warns(UserWarning, match="tascel profile --engine vllm"):
        proposer = Proposer(config())
    assert proposer.propose([[]], np.array([3], np.int32), np.zeros((1, LONGEST), np.int32)) == [[]]


def test_a_measured_price_is_found(cache, config, price_file):
    from tascel.plugins.vllm.setting import setting_of

    kept = setting_of(config()).file
    kept.parent.mkdir(parents=True)
    kept.write_text(price_file.read_text())
    Proposer(config())  # does not warn
    given = config(price=kept.name)
    given.model_config.quantization = "fp8"
    Proposer(given)
    given = config(price="none.json")
    with pytest.raises(TascelError, match=r"none\.json: no such file"):
        Proposer(given)


def test_offers_are_those_of_one_session_a_request(bundle, config, price_file, toy_folder):
    """The real draft, trust that follows and all: rows in any order against plain bookkeeping."""
    proposer = Proposer(config(price=str(price_file)))
    opened = Bundle.open(bundle)
    codec, price = opened.codec, read_price(price_file)
    draft, breaker = opened.draft(DraftConfig(most=MOST, trees=False)), Breaker(price)
    rng = np.random.default_rng(0)
    asked = [
        Trace(({"role": "user", "content": f"turn the lamp in the {room} to {at}"},),
              {"role": "assistant", "content": f'{{"{room}": {at}}}'})
        for room in ("den", "hall", "moon") for at in range(12)
    ] + [
        Trace(({"role": "user", "content": f"PLAY ME {band} ({at})"},),
              {"role": "assistant", "content": f"CALL queue '{band}' #{at};"})
        for band in ("Muse", "Blur", "Abba") for at in range(12)
    ]  # fmt: skip
    rng.shuffle(asked)
    coming = [(codec.prompt(t.messages), codec.answer(t).tolist()) for t in asked]
    tokens = np.zeros((4, LONGEST), np.int32)
    rows, offers = [], 0
    before = 0
    while coming or rows:
        while coming and len(rows) < 4:
            prompt, answer = coming.pop()
            session = draft.open(Request("r", prompt))
            rows.append(
                SimpleNamespace(
                    prompt=prompt.tolist(), answer=answer, session=session, said=0, right=0,
                    offered=Proposal.nothing(),
                )
            )  # fmt: skip
        rng.shuffle(rows)
        sampled, counts = [], []
        for at, row in enumerate(rows):
            chain = row.offered.tokens.tolist()
            rest, right = row.answer[row.said :], 0
            while right < min(len(chain), len(rest) - 1) and chain[right] == rest[right]:
                right += 1
            sampled.append(rest[: right + 1])
            row.right = right
            row.said += right + 1
            held = row.prompt + row.answer[: row.said]
            tokens[at, : len(held)] = held
            counts.append(len(held))
        found = proposer.propose(sampled, np.array(counts, np.int32), tokens)
        for row, written in zip(rows, sampled, strict=True):
            row.session.accept(written, row.offered, row.right)
        checked = sum(len(row.offered) for row in rows)
        if checked:
            breaker.record(checked, sum(row.right for row in rows), before, before)
        for row in rows:
            row.offered = Proposal.nothing()
        going = [row for row in rows if row.said < len(row.answer)]
        if going and breaker.allows():
            before = len(going)
            rooms = [MOST] * len(going)
            sessions = [row.session for row in going]
            made = draft.propose_many(sessions, rooms, price, len(going))
            cost = price.curve(len(going), sum(map(len, made)), len(going))
            for row, proposal in zip(going, afford(made, len(going), cost), strict=True):
                row.offered = proposal
        for row, offer in zip(rows, found, strict=True):
            assert offer == row.offered.tokens.tolist()
            offers += len(offer)
        rows = going
    assert offers > 300
