"""Advice on traces of every kind: what they are like, and sensible words about it."""

from __future__ import annotations

import json
import random
import shutil

import pytest
from transformers import AutoTokenizer

from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.advise.advise import advise
from tascel.engines.hf.load import fingerprint
from tascel.engines.known import Known
from tascel.engines.profile import Setting, keep_price, machine
from tascel.errors import TraceError
from tascel.types import Trace

FLAT = {1: 10.0, 8: 11.0, 64: 20.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(Known, "version", lambda self: "1")
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))


def traces(pairs, **fields):
    return [
        Trace(
            ({"role": "user", "content": asked},), {"role": "assistant", "content": said}, **fields
        )
        for asked, said in pairs
    ]


def measured(toy_folder, points=FLAT):
    how = ("cpu", "float32", 2, "torch 2.13, packed", machine())
    keep_price(Setting("toy", fingerprint(toy_folder), *how), {1: points}, 96)


def test_everything_is_told_of_a_task_that_repeats_itself(toy_folder):
    pairs = [(f"light {i} to {i % 5}", f'{{"light": {i}, "to": {i % 5}}}') for i in range(400)]
    heard = []
    found = advise(
        traces(pairs), [toy_folder], limit=20, progress=lambda stage, n, of: heard.append(stage)
    )
    json.dumps(found)
    assert (found["read"], found["answered"], found["learned"]) == (400, 400, 360)
    assert (found["replayed"], found["refused"]) == (20, 0)
    assert found["lengths"]["answers"] == 360
    assert found["repeated"]["distinct"] == 360
    assert found["entropy"]["bits_out"] < found["entropy"]["bits_in"] + 2
    assert found["copied"]["words"] == {"1": 1.0, "2": 1.0}
    assert found["vocabulary"]["written"] <= found["vocabulary"]["rows"] <= 272
    assert found["vocabulary"]["head"]["model"]["rows"] == 272
    curve = found["tokens"]["curve"]
    assert curve[0]["rows"] == 0
    assert found["tokens"]["best"]["fewer"] == pytest.approx(
        curve[0]["tokens"] / min(curve, key=lambda point: point["time"])["tokens"]
    )
    assert found["foretold"]["gain"] > 1.5
    assert found["foretold"]["price_file"].startswith("built in")
    assert found["foretold"]["interval"][0] <= found["foretold"]["gain"]
    assert found["recommendation"]["kind"] == "drafts"
    assert found["recommendation"]["steps"][0]["kind"] == "measure"
    assert {"reading traces", "replaying", "counting words", "mining"} <= {*heard}


def test_groups_that_are_named_are_held_out_and_requests_like_those_learned_too(toy_folder):
    words = [f"w{i}x{i * 7 % 13}" for i in range(12)]
    of = {
        word: [(f"{word} number {i}", f"{word} {word} {i % 3}") for i in range(30)]
        for word in words
    }
    groups = [trace for word in words for trace in traces(of[word], group=word)]
    found = advise(groups, [toy_folder], limit=20)
    new, known = found["foretold"], found["foretold"]["alike"]
    assert known["decoding_gain"] > new["decoding_gain"]
    assert found["learned"] < 12 * 30 - 30  # a group and some of each other are held out
    ungrouped = advise(
        [trace for word in words for trace in traces(of[word])], [toy_folder], limit=20
    )
    assert ungrouped["foretold"]["alike"] is None


def test_tasks_are_told_by_name_and_size(toy_folder, two_tasks):
    found = advise(two_tasks(120, labelled=True), [toy_folder], limit=20)
    one, other = found["tasks"]
    assert {one["name"], other["name"]} == {"lights", "songs"}
    assert one["traces"] + other["traces"] == found["learned"]
    assert one["share"] + other["share"] == pytest.approx(1.0)
    assert one["answer_tokens"] > 5
    assert found["recommendation"]["steps"][-1]["kind"] == "tasks"
    assert "2 tasks were found" in found["recommendation"]["words"]


def test_answers_of_one_token_leave_nothing_to_draft(toy_folder):
    measured(toy_folder)
    pairs = [(f"is {i} even, please tell me", "yn"[i % 2]) for i in range(60)]
    found = advise(traces(pairs), [toy_folder], limit=20)["recommendation"]
    assert found["kind"] == "nothing"
    assert found["words"].startswith("This will not help you, because an answer has 2.0 tokens")
    assert found["commands"] == []
    assert any("100% of the answers are one token" in said for said in found["cautions"])


def test_answers_that_nobody_could_foretell_are_not_advised_on(toy_folder):
    measured(toy_folder)
    rng = random.Random(0)
    noise = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=30)) for _ in range(80)]
    found = advise(traces(zip(noise, reversed(noise), strict=True)), [toy_folder], limit=20)
    said = found["recommendation"]
    assert said["kind"] == "nothing"
    per_pass = found["foretold"]["tokens_per_pass"]
    assert f"because a pass would write only {per_pass:.2f} tokens of held-out" in said["words"]


def test_passes_that_cost_too_much_are_named(toy_folder):
    measured(toy_folder, {1: 10.0, 2: 30.0, 8: 80.0, 64: 700.0})
    rng = random.Random(0)
    noise = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=80)) for _ in range(60)]
    found = advise(traces(zip(reversed(noise), noise, strict=True)), [toy_folder], limit=20)
    assert found["recommendation"]["kind"] == "nothing"
    assert (
        "takes 8.0 times as long here as one of a single token" in found["recommendation"]["words"]
    )


def test_twenty_traces_are_enough_for_a_hint(toy_folder):
    pairs = [(f"light {i}", f"the lamp {i % 3} is on") for i in range(20)]
    found = advise(traces(pairs), [toy_folder])
    assert found["replayed"] == 2
    assert "Only 2 answers could be replayed" in found["recommendation"]["cautions"][0]
    assert found["tokens"]["best"] is None
    assert "nothing to gain" in found["tokens"]["note"]


def test_answers_that_are_all_the_same_need_no_model(toy_folder):
    found = advise(traces((f"ask {i} again", "always the same") for i in range(60)), [toy_folder])
    assert found["repeated"]["verbatim"] == found["repeated"]["known"] == 1.0
    assert (
        "All answers are the same: no model is needed to give them."
        in (found["recommendation"]["cautions"])
    )


def test_empty_answers_are_remarked_on(toy_folder):
    found = advise(traces((f"ask {i}", "") for i in range(60)), [toy_folder])
    assert found["recommendation"]["kind"] == "nothing"
    assert any(
        "100% of the answers are empty" in said for said in found["recommendation"]["cautions"]
    )


def test_any_language_will_do(toy_folder):
    pairs = [(f"打开第{i}盏灯", f"好的、第{i}盏灯已经打开了。") for i in range(60)]
    found = advise(traces(pairs), [toy_folder], limit=5)
    assert found["entropy"]["most_out"] > 5
    assert found["foretold"]["gain"] > 1


def test_a_tokenizer_alone_is_enough(toy_folder, lamps, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(toy_folder, bare, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    found = advise(lamps, [bare], limit=3)
    assert found["vocabulary"]["head"] is None
    assert found["to_measure"] == []
    assert "holds no weights" in found["recommendation"]["words"]
    assert found["recommendation"]["commands"] == [f"tascel build TRACES --model {bare} -o bundle"]
    assert {entry["engine"] for entry in found["absent"]} == {"hf", "openvino", "llamacpp", "vllm"}


def test_a_model_with_new_tokens_gets_no_others(toy_folder, lamps, tmp_path):
    enriched = tmp_path / "enriched"
    plain = AutoTokenizer.from_pretrained(toy_folder)
    run = plain("the lamp", add_special_tokens=False).input_ids
    extended, _ = Vocabulary(plain).extend([run])
    extended.save_pretrained(enriched)
    found = advise(lamps, [enriched], limit=3)
    assert found["answer_tokens"] == 4.0  # the new token, a space, a digit, the closing id
    assert found["tokens"]["best"] is None
    assert "has new tokens already" in found["tokens"]["note"]


def test_what_the_template_refuses_is_left_out_and_counted(toy_folder, lamps):
    odd = Trace(({"role": "user", "content": "\ud800"},), {"role": "assistant", "content": "on"})
    found = advise([*lamps, *[odd] * 3], [toy_folder], limit=20)
    assert found["refused"] == 3
    assert any("refuses 3 of the traces" in said for said in found["recommendation"]["cautions"])


def test_traces_without_an_answer_are_no_traces_to_advise_on(toy_folder):
    prompts = [Trace(({"role": "user", "content": "a"},)) for _ in range(30)]
    with pytest.raises(TraceError, match="none of the 30 traces has an answer"):
        advise(prompts, [toy_folder])
    with pytest.raises(TraceError, match="too few"):
        advise([], [toy_folder])
