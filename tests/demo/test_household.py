"""The demo's traces: repeatable, with whole templates and many names held out, one meaning each."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tascel.demo import household, words
from tascel.traces.read import read_traces

DATA: dict[str, Any] = {
    "language": "en",
    "intents": {
        "HassTurnOn": {
            "data": [
                {
                    "sentences": [
                        f"{verb} [the] {{name}}{where}"
                        for verb in ("turn on", "switch on", "activate", "start", "enable")
                        for where in (" in [the] {area}", " on [the] {floor} floor")
                    ],
                    "requires_context": {"domain": ["light", "fan"]},
                }
            ]
        },
        "HassListAddItem": {
            "data": [{"sentences": [f"{v} {{shopping_list_item:item}}" for v in ("add", "put")]}]
        },
        "HassStart": {"data": [{"sentences": ["wake up"]}]},
        "HassStop": {"data": [{"sentences": ["wake [up]"]}]},
    },
    "lists": {"shopping_list_item": {"wildcard": True}},
    "expansion_rules": {},
}


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(household, "SIZES", {"train": 400, "valid": 40, "test": 80})
    monkeypatch.setattr(household, "HELD_OUT", {"valid": 0.15, "test": 0.3})
    return household.sample(DATA, seed=3)


def of(traces: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    return [t for t in traces if t["split"] == split]


def test_the_same_seed_gives_the_same_traces(traces: list[dict[str, Any]]) -> None:
    assert household.sample(DATA, seed=3) == traces
    assert household.sample(DATA, seed=4) != traces


def test_templates_are_held_out_whole_and_prompts_never_shared(
    traces: list[dict[str, Any]],
) -> None:
    groups: dict[str, set[str]] = defaultdict(set)
    prompts: dict[str, set[str]] = defaultdict(set)
    for trace in traces:
        groups[trace["split"]].add(trace["group"])
        prompts[trace["split"]].add(trace["prompt"])
    for shared in (groups, prompts):
        assert not shared["train"] & shared["test"]
        assert not shared["train"] & shared["valid"]
    blocks = {g.rsplit(".", 1)[0] for g in groups["train"]}
    assert {g.rsplit(".", 1)[0] for g in groups["test"] | groups["valid"]} <= blocks


def test_held_out_sentences_often_name_what_train_never_names(
    traces: list[dict[str, Any]],
) -> None:
    known = {t["output"] for t in of(traces, "train")}
    unseen = [t for t in of(traces, "test") if t["output"] not in known]
    assert len(unseen) > 0.5 * len(of(traces, "test"))
    said = " ".join(t["prompt"] for t in of(traces, "train")).split()
    assert not set(words.split(words.MODIFIERS[1])) & set(said)


def test_every_slot_is_said_in_the_sentence(traces: list[dict[str, Any]]) -> None:
    for trace in traces:
        for value in json.loads(trace["output"])["slots"].values():
            assert value in trace["prompt"]


def test_a_sentence_of_two_meanings_is_dropped(traces: list[dict[str, Any]]) -> None:
    assert {t["prompt"]: t["output"] for t in traces if t["prompt"].startswith("wake")} == {
        "wake": household.answer("HassStop", {})
    }


def test_exact_compares_json_and_not_text() -> None:
    reference = household.answer("HassTurnOn", {"state": "on", "name": "lamp"})
    assert reference == '{"intent": "HassTurnOn", "slots": {"name": "lamp", "state": "on"}}'
    same = '{"slots":{"state":"on","name":"lamp"},"intent":"HassTurnOn"}'
    assert household.exact(same, reference)
    assert not household.exact(reference.replace("lamp", "lamps"), reference)
    assert not household.exact(reference[:-1], reference)


def test_write_makes_traces_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(household, "SIZES", {"train": 20, "valid": 2, "test": 4})
    monkeypatch.setattr(household, "package_file", lambda *_: json.dumps(DATA).encode())
    path = tmp_path / "new" / "traces.jsonl"
    n = household.write(path)
    read = list(read_traces(path))
    assert len(read) == n
    assert {t.task for t in read} == {household.TASK}
    assert [m["role"] for m in read[0].messages] == ["system", "user"]
    assert list(path.parent.iterdir()) == [path]


def test_new_and_known_words_do_not_overlap() -> None:
    pairs = [words.MODIFIERS, words.MESSAGES, *words.NAMES.values(), *words.OPEN.values()]
    for known, new in pairs:
        assert not set(words.split(known)) & set(words.split(new))


@pytest.mark.real
def test_the_traces_are_those_the_adapter_was_trained_on(tmp_path: Path) -> None:
    """Other words would move held-out templates into what the adapter has seen."""
    household.write(tmp_path / "traces.jsonl")
    digest = hashlib.sha256((tmp_path / "traces.jsonl").read_bytes()).hexdigest()
    assert digest in (household.adapter() / "README.md").read_text()
