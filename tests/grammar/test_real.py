"""The demo's real model without its adapter, held to a schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest

from tascel.decode.loop import complete
from tascel.demo.run import Demo
from tascel.draft.price import Price
from tascel.grammar import CompiledGrammar, Grammars, Guide
from tascel.loading import load
from tascel.runner import Runner
from tascel.types import Sampling

pytestmark = pytest.mark.real

SCHEMA = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["HassTurnOn", "HassTurnOff", "HassLightSet"]},
        "slots": {
            "type": "object",
            "properties": {
                "area": {"type": "string", "maxLength": 20},
                "name": {"type": "string", "maxLength": 20},
                "brightness_pct": {"type": "integer", "minimum": 0, "maximum": 100},
            },
            "required": ["area", "brightness_pct"],
            "additionalProperties": False,
        },
    },
    "required": ["intent", "slots"],
    "additionalProperties": False,
}
PROMPTS = ("turn on the kitchen light", "Say hello.", "dim the lamp in the hall to 20 percent")


class Unguessed:
    """A grammar that drafts nothing."""

    def __init__(self, grammar: CompiledGrammar) -> None:
        self._grammar = grammar

    def start(self) -> Guide:
        place: Any = self._grammar.start()
        place.forced = list
        return place


@pytest.fixture(scope="module")
def runner() -> Runner:
    parts = Demo(lambda stage, done, total: None)
    parts.prepare()
    loaded = load(None, model=parts.model, dtype="float32")
    # what is drafted here must not depend on how busy this machine is
    loaded.price = Price.from_points({1: 1.0, 8: 1.1, 16: 1.3, 32: 1.7, 64: 2.3})
    return loaded


def test_json_by_a_schema(runner):
    grammar = Grammars(runner.codec).json_schema(SCHEMA)
    for sampling in (Sampling(), Sampling(temperature=0.8, top_p=0.9, seed=5)):
        for prompt in PROMPTS:
            request = runner.request(prompt, sampling=sampling, max_tokens=80)
            plain = complete(runner.run(replace(request, grammar=Unguessed(grammar))))
            drafted = complete(runner.run(replace(request, grammar=grammar)))
            assert (drafted.tokens, drafted.text) == (plain.tokens, plain.text)
            assert drafted.finish_reason == "stop"
            assert jsonschema_rs.is_valid(SCHEMA, json.loads(drafted.text))
            assert not plain.stats.offered
            assert drafted.stats.accepted["grammar"] >= 8
            assert drafted.stats.steps < 0.7 * len(plain.tokens)
