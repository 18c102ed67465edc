"""Random sentences carry the slot values they state."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tascel.demo.grammar import Grammar

DATA: dict[str, Any] = {
    "language": "en",
    "intents": {
        "Set": {
            "data": [
                {
                    "sentences": ["<set> [the] {name} to {level:percent}[[ ]%]"],
                    "slots": {"domain": "light"},
                    "requires_context": {"domain": ["light", "fan"]},
                },
                {"sentences": ["heat to {heat}"]},
                {"sentences": ["down by {step}"]},
            ]
        },
        "Turn": {"data": [{"sentences": ["(turn;{state})", "go {state}"]}]},
        "Say": {"data": [{"sentences": ["say {message}"]}]},
    },
    "lists": {
        "level": {"range": {"from": 0, "to": 100, "step": 10}},
        "heat": {"range": {"from": 5, "to": 40, "fractions": "halves"}},
        "step": {"range": {"from": 1, "to": 9, "multiplier": -1}},
        "state": {"values": [{"in": "(on|alight)", "out": "on"}]},
        "message": {"wildcard": True},
    },
    "expansion_rules": {"set": "(set|make)"},
}


def sentences(group: str, n: int = 60, **said: str) -> set[tuple[str, tuple[tuple[str, Any], ...]]]:
    grammar = Grammar(DATA, {"heat": (20, 21)})
    template = next(t for t in grammar.templates() if t.group == group)
    rng = Random(1)
    drawn = (grammar.sample(template, lambda name, _: said.get(name), rng) for _ in range(n))
    return {(text, tuple(slots.items())) for text, slots in drawn}


def test_templates_name_their_block_and_what_it_asks_for() -> None:
    templates = {t.group: t for t in Grammar(DATA).templates()}
    assert list(templates) == ["Set.0.0", "Set.1.0", "Set.2.0", "Turn.0.0", "Turn.0.1", "Say.0.0"]
    assert templates["Turn.0.1"].block == "Turn.0"
    assert templates["Set.0.0"].domains == ("light", "fan")
    assert templates["Set.0.0"].fixed == {"domain": "light"}
    assert templates["Say.0.0"].intent == "Say"


def test_rules_optionals_names_and_numbers() -> None:
    drawn = sentences("Set.0.0", name="lamp")
    for text, slots in drawn:
        values = dict(slots)
        assert text.startswith(("set the lamp to", "set lamp to", "make the lamp", "make lamp"))
        assert values == {"domain": "light", "name": "lamp", "percent": values["percent"]}
        assert values["percent"] % 10 == 0
        assert text.rstrip("% ").endswith(f"to {values['percent']}")
    assert any("%" in text for text, _ in drawn)
    assert any("%" not in text for text, _ in drawn)


def test_ranges_can_be_narrowed_and_have_halves() -> None:
    drawn = {slots[0][1] for _, slots in sentences("Set.1.0")}
    assert drawn == {20, 20.5, 21, 21.5}


def test_a_multiplier_changes_the_value_and_not_the_words() -> None:
    assert {(text, slots[0][1]) for text, slots in sentences("Set.2.0")} == {
        (f"down by {n}", -n) for n in range(1, 10)
    }


def test_permutations_and_spoken_forms() -> None:
    assert sentences("Turn.0.0") == {
        (text, (("state", "on"),)) for text in ("turn on", "turn alight", "on turn", "alight turn")
    }


def test_an_open_list_without_values_is_refused() -> None:
    with pytest.raises(LookupError, match="message"):
        sentences("Say.0.0")
    assert sentences("Say.0.0", message="good night") == {
        ("say good night", (("message", "good night"),))
    }
