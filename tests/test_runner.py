"""Loading and answering, with toy models."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest

import tascel
from tascel.bench.batches import race
from tascel.bench.batches import table as batch_table
from tascel.bench.compare import interleave, report, table
from tascel.bench.contenders import Answer, contenders
from tascel.bench.prompts import prompts, requests
from tascel.bench.verify import Difference, Report
from tascel.codec import Codec
from tascel.decode.loop import complete
from tascel.draft.base import Proposal
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.engines.profile import measure, price_of
from tascel.errors import BundleError, ModelError, RequestError, TraceError
from tascel.filling import put_selection
from tascel.selection import Selection
from tascel.types import Request, Sampling, Trace

PROMPTS = [f"light {i} in the den" for i in range(6)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def runner(toy_folder, tmp_path_factory, cache):
    """A toy model with a bundle of its own answers, so that drafts are often right."""
    plain = tascel.load(None, model=toy_folder)
    traces = []
    for prompt in PROMPTS[:4]:
        text = plain.generate(prompt, max_tokens=20).text
        traces += [
            Trace(({"role": "user", "content": prompt},), {"role": "assistant", "content": text})
        ] * 3
    folder = tmp_path_factory.mktemp("b") / "bundle"
    tascel.build(traces, toy_folder, folder)
    loaded = tascel.load(folder, model=toy_folder)
    # a toy's passes are too short to measure: drafts must not depend on that noise
    loaded.price = Price.from_points({1: 1.0, 33: 1.6})
    loaded.breaker = Breaker(loaded.price)
    return loaded


def test_a_loaded_draft_has_learned_from_no_request(runner, toy_folder, cache):
    draft = tascel.load(runner.bundle.path, model=toy_folder).draft
    assert not draft.mixer.drift.any()
    draft.open(Request("r", np.array([1, 2, 3], np.int32))).accept([4], Proposal.nothing(), 0)
    assert draft.mixer.drift.any()


def test_generate_and_stream_agree_with_plain_decoding(runner, toy_folder, cache):
    plain = tascel.load(None, model=toy_folder)
    drafted = 0
    for prompt in PROMPTS:
        answer = runner.generate(prompt, max_tokens=24)
        assert answer.tokens == plain.generate(prompt, max_tokens=24).tokens
        chunks = list(runner.stream(prompt, max_tokens=24))
        assert "".join(c.text for c in chunks) == answer.text
        assert tuple(c.token for c in chunks) == answer.tokens
        drafted += sum(answer.stats.accepted.values())
    assert drafted > 0


def test_many_at_once_are_answered_as_one_at_a_time(runner):
    settings = [Sampling(), Sampling(temperature=0.9, seed=5)]
    wanted = [runner.request(p, sampling=s, max_tokens=20) for p in PROMPTS for s in settings]
    alone = {r.id: complete(runner.run(r, plain=True)) for r in wanted}
    hopeless = replace(wanted[0], id="hopeless", prompt=wanted[0].prompt[:0])
    events = list(runner.run_many([*wanted[:3], hopeless, *wanted[3:]], rows=4))
    done = {e.request.id: e.completion for e in events if e.completion}
    assert {id_: c.tokens for id_, c in done.items()} == {i: c.tokens for i, c in alone.items()}
    assert [e.request.id for e in events if e.error] == ["hopeless"]
    assert sum(sum(c.stats.accepted.values()) for c in done.values()) > 0


def test_batches_race(runner):
    wanted = [runner.request(p, max_tokens=12) for p in PROMPTS]
    runs = race(runner, wanted, 4, ["none", "transformers", "tascel"], repeats=2)
    rows = batch_table(runs)
    assert [row["name"] for row in rows] == ["none", "transformers", "tascel"]
    assert all(row["identical"] and len(row["seconds"]) == 2 for row in rows)
    assert rows[2]["passes"] < rows[0]["passes"]
    assert rows[2]["drafted_share"] > 0
    with pytest.raises(RequestError, match="no contender 'vllm'"):
        race(runner, wanted, 4, ["vllm"])


def test_a_seed_makes_sampling_repeatable_with_and_without_drafts(runner):
    sampling = Sampling(temperature=1.2, top_p=0.95, seed=7)
    request = runner.request(PROMPTS[0], sampling=sampling, max_tokens=16)
    drafted, plain = complete(runner.run(request)), complete(runner.run(request, plain=True))
    assert drafted.tokens == plain.tokens
    unseeded = [runner.request(PROMPTS[0], sampling=Sampling(temperature=1.0)) for _ in range(2)]
    assert unseeded[0].sampling.seed != unseeded[1].sampling.seed


def test_contenders_answer_alike_and_are_reported(runner, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": p, "split": "test"}) for p in PROMPTS))
    asked = requests(runner, prompts(str(file), "test", limit=3), max_tokens=16)
    assert [trace.prompt_text for trace, _ in asked] == PROMPTS[:3]
    wanted = [request for _, request in asked]
    names = ["none", "transformers", "prompt-lookup", "tasc-paper", "tascel"]
    watched = []
    rounds = interleave(
        runner, contenders(runner, names, lambda name, chunk: watched.append(name)), wanted
    )
    content = report(runner, rounds)
    assert [row["name"] for row in content["rows"]] == names
    assert all(row["identical"] for row in content["rows"])
    assert set(watched) == {"none", "tascel"}
    wanted_keys = {
        "name", "tokens", "seconds", "tokens_per_second", "speedup", "speedup_total",
        "tokens_per_step", "prefill_seconds", "drafted_share", "identical", "mismatches",
    }  # fmt: skip
    assert wanted_keys <= set(content["rows"][0])
    assert {"model", "device", "dtype", "price_file", "examples", "rows"} <= set(content)
    assert content["examples"] == 3
    assert content["unseen"]["examples"] <= 3
    json.dumps(content)
    with pytest.raises(TraceError, match="no prompts of split"):
        requests(runner, prompts(str(file), "valid"))
    with pytest.raises(RequestError, match="no contender"):
        contenders(runner, ["magic"])


def test_the_table_counts_what_differs():
    def round_(tokens, seconds):
        return {
            "none": Answer((1, 2, 3), 0.1, 0.4, 3),
            "tascel": Answer(tokens, 0.1, seconds, 2, {"corpus": 1}),
        }

    none, tascel_row = table([round_((1, 2, 3), 0.1), round_((1, 9, 3), 0.1)])
    assert none["speedup"] == none["speedup_total"] == 1.0
    assert none["identical"]
    assert tascel_row["speedup"] == pytest.approx(4.0)
    assert tascel_row["speedup_total"] == pytest.approx(2.5)
    assert (tascel_row["identical"], tascel_row["mismatches"]) == (False, 1)
    assert tascel_row["tokens_per_step"] == pytest.approx(1.5)
    assert tascel_row["drafted_share"] == pytest.approx(1 / 3)


def test_verify_finds_equality_and_what_it_rests_on(runner):
    wanted = [runner.request(p, max_tokens=20) for p in PROMPTS]
    seen = tascel.verify(runner, wanted)
    assert seen.equal
    assert seen.prompts == 6
    assert seen.drafted_share > 0
    assert seen.offered > 0


def test_texts_and_messages_can_be_verified(runner):
    parts = [{"role": "user", "content": [{"type": "text", "text": PROMPTS[0]}]}]
    assert np.array_equal(runner.request(parts).prompt, runner.request(PROMPTS[0]).prompt)
    assert tascel.verify(runner, [PROMPTS[0], parts]).prompts == 2
    with pytest.raises(RequestError, match="neither text nor messages"):
        runner.generate([{"content": "no role"}])


def test_verify_notices_a_wrong_loop(runner, monkeypatch):
    """The check can fail: an engine that keeps a rejected token is caught."""
    keep, check, offered = runner.engine.keep, runner.engine.check, {}

    def remembering(rows, leads, proposals):
        offered.update(zip(rows, map(len, proposals), strict=True))
        return check(rows, leads, proposals)

    def forgetful(rows, paths):
        keep(rows, [p or [0] * (offered[r] > 0) for r, p in zip(rows, paths, strict=True)])

    wanted = [runner.request(p, max_tokens=24) for p in PROMPTS]
    monkeypatch.setattr(runner.engine, "check", remembering, raising=False)
    monkeypatch.setattr(runner.engine, "keep", forgetful, raising=False)
    assert not tascel.verify(runner, wanted).equal


def test_ties_count_only_while_they_are_rare_and_close():
    def seen(gap, tokens):
        difference = Difference("r", "none", 3, gap)
        return Report(1, tokens, 0.5, 9, 1, 1, (difference,)).equal

    assert seen(5e-5, 10_000)
    assert not seen(5e-5, 9_999)
    assert not seen(2e-4, 10_000_000)


def test_a_random_draft_changes_nothing(runner, oracle_draft):
    for prompt in PROMPTS:
        request = runner.request(prompt, max_tokens=60)
        plain = complete(runner.run(request, plain=True))
        draft = oracle_draft(plain.tokens, skill=0.0, width=12, vocab_size=272)
        drafted = complete(runner.run(request, draft=draft))
        assert drafted.tokens == plain.tokens
        assert drafted.text == plain.text


def test_prices_are_measured_once_and_kept(runner, cache):
    setting = runner.setting
    assert setting.file.is_file()
    kept = price_of(runner.engine, setting)
    assert np.array_equal(kept.ms, price_of(runner.engine, setting).ms)
    setting.file.write_text("{", encoding="utf-8")  # damaged: measured again
    assert price_of(runner.engine, setting).ms.shape == kept.ms.shape
    assert json.loads(setting.file.read_text())["setting"]["model"] == setting.model
    points = measure(runner.engine)
    assert min(points) == 1
    assert max(points) <= 64


def test_changed_weights_warn_and_still_answer(runner, toy, tokenizer, tmp_path, cache):
    model = toy("Llama", seed=5, eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="other weights"):
        other = tascel.load(runner.bundle.path, model=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert other.generate(PROMPTS[0], max_tokens=4).tokens


def test_what_cannot_be_loaded_is_said_plainly(tmp_path, toy_folder, cache):
    with pytest.raises(ModelError):
        tascel.load(None, model=tmp_path / "nowhere")
    with pytest.raises(BundleError, match="no such bundle"):
        tascel.load(tmp_path / "nowhere", model=toy_folder)


def test_the_cache_is_as_big_as_asked_for(toy_folder, cache):
    assert tascel.load(None, model=toy_folder, cache_tokens=128).engine.cache_tokens == 128


def test_a_prompt_longer_than_the_context_is_refused(runner):
    with pytest.raises(RequestError, match="context"):
        runner.generate("long " * 400)


@pytest.fixture(scope="module")
def selected(runner, toy_folder, tmp_path_factory):
    """The runner's bundle with a selection of every third id."""
    folder = tmp_path_factory.mktemp("selected") / "bundle"
    shutil.copytree(runner.bundle.path, folder)
    codec = Codec.from_pretrained(toy_folder)
    ids = np.arange(0, 260, 3, dtype=np.int32)
    vocab_size = runner.bundle.manifest.vocab_size
    put_selection(folder, Selection(ids, vocab_size, 0.0, 0.01, 0.9, 12), codec)
    return folder


def test_a_bundle_with_a_selection_answers_as_one_without(runner, selected, toy_folder, cache):
    plain = tascel.load(None, model=toy_folder)
    offered = drafted = 0
    for drafts in (True, False):
        tailored = tascel.load(selected, model=toy_folder, drafts=drafts)
        assert tailored.head == "lossless"
        assert tailored.setting.file != runner.setting.file
        wanted = [tailored.request(p, max_tokens=24) for p in PROMPTS]
        ended = [e.completion for e in tailored.run_many(wanted, rows=3) if e.completion]
        alone = [complete(tailored.run(request)) for request in wanted]
        truth = [complete(plain.run(request)).tokens for request in wanted]
        assert [answer.tokens for answer in alone] == truth
        assert sorted(answer.tokens for answer in ended) == sorted(truth)
        offered += sum(answer.stats.offered.get("head", 0) for answer in alone)
        drafted += sum(answer.stats.offered.get("corpus", 0) for answer in alone)
    assert offered > 0
    assert drafted > 0


def test_heads_are_refused_by_name(selected, toy_folder, cache):
    assert tascel.load(selected, model=toy_folder, head="full").head == "full"
    assert tascel.load(None, model=toy_folder).head == "full"
    with pytest.raises(RequestError, match="unknown head half"):
        tascel.load(selected, model=toy_folder, head="half")
    with pytest.raises(RequestError, match="a fast head needs a bundle with a selection"):
        tascel.load(None, model=toy_folder, head="fast")


def test_a_report_says_how_much_was_rolled_back(selected, toy_folder, cache):
    tailored = tascel.load(selected, model=toy_folder, drafts=False)
    asked = [tailored.request(p, max_tokens=16) for p in PROMPTS[:2]]
    rounds = interleave(tailored, contenders(tailored, ["none", "tascel"]), asked)
    content = report(tailored, rounds)
    assert content["head"] == "lossless"
    plain, ours = content["rows"]
    assert plain["rolled_back"] is None
    assert 0 < ours["rolled_back"] < 1
    assert ours["identical"]
