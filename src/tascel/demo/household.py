"""The demo's task: voice commands of an invented household, answered with intent JSON.

Sentences are drawn from Home Assistant's English intent grammar with their slot values. Whole
templates are held out, and held-out sentences mostly name things no training sentence names. An
answer holds only what the sentence states: values as said, numbers as numbers, no area that only
the microphone's place would tell.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tascel.assets import INTENTS, Say, package_file
from tascel.demo import words
from tascel.demo.grammar import Grammar, Template
from tascel.errors import AssetError
from tascel.store.file import whole_file

TASK = "home_assistant"
#: The grammar's file in the intents package.
_GRAMMAR = "home_assistant_intents/data/en.json"
SYSTEM = "Answer with Home Assistant intent JSON."
SIZES: Mapping[str, int] = {"train": 8000, "valid": 300, "test": 500}
#: Share of templates held out for each of valid and test.
HELD_OUT = {"valid": 0.06, "test": 0.10}
#: What people say; the grammar allows more.
RANGES = {"temperature": (12, 30), "timer_hours": (1, 12)}
#: Questions keep their verb: without it "all fans on" is an order as well.
RULES = {"is": "(is|are)", "are_any": "<is> [there] <any>", "are_all": "<is> <all>"}
#: The order in which an answer lists its slots.
ORDER = ("name", "area", "floor", "domain", "device_class", "state")
_ENTITIES = 9
_NEW_ENTITIES = 5
#: Share of held-out sentences that name new things.
_NEW_SHARE = 0.6
#: Draws for each sentence wanted: an intent with few wordings runs dry.
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Household:
    """The values each open list may take; `entities` by domain."""

    entities: Mapping[str, Sequence[str]]
    open: Mapping[str, Sequence[str]]

    @classmethod
    def invent(cls, rng: Random, new: bool) -> Household:
        """The things everyone talks about or, with `new`, those only held-out sentences name."""
        side = 1 if new else 0
        modifiers = words.split(words.MODIFIERS[side])
        entities: dict[str, Sequence[str]] = {}
        for domain, heads in words.HEADS.items():
            names = words.pairs("|".join(modifiers), "|".join(heads))
            entities[domain] = rng.sample(names, _NEW_ENTITIES if new else _ENTITIES)
        for domain, pair in words.NAMES.items():
            entities[domain] = words.split(pair[side])
        open_: dict[str, Sequence[str]] = {k: words.split(v[side]) for k, v in words.OPEN.items()}
        open_["message"] = words.split(words.MESSAGES[side])
        open_["timer_command"] = words.pairs(words.COMMANDS[0], words.COMMANDS[1 + side])
        open_["shopping_list_item"] = words.pairs(*words.ITEMS[2 * side : 2 * side + 2])
        open_["search_query"] = words.pairs(*words.QUERIES[2 * side : 2 * side + 2])
        open_["area"], open_["floor"] = words.AREAS, words.FLOORS
        return cls(entities, open_)

    def values(self, template: Template, rng: Random) -> dict[str, str]:
        """One random value for each open list of a sentence of this template."""
        picked = {name: rng.choice(choices) for name, choices in self.open.items()}
        if template.domains:
            picked["name"] = rng.choice(self.entities[rng.choice(template.domains)])
        return picked


def adapter() -> Path:
    """The demo's trained adapter: in an installed package, or in a checkout's examples.

    Raises:
        AssetError: it lies in neither place.
    """
    installed = Path(__file__).parent / "adapter"
    checkout = Path(__file__).parents[3] / "examples" / "home_assistant"
    for folder in (installed, checkout):
        if (folder / "adapter_config.json").exists():
            return folder
    raise AssetError("the demo's adapter is missing from this installation", "Install tascel again")


def write(path: Path, seed: int = 0, say: Say = lambda _: None) -> int:
    """Write the demo's traces as JSON lines and return their number; the grammar is fetched first.

    Raises:
        AssetError: the grammar cannot be fetched, or hassil is not installed.
        TascelError: the file cannot be written.
    """
    data = json.loads(package_file(INTENTS, _GRAMMAR, say))
    traces = sample(data, seed)
    with whole_file(path) as file:
        file.writelines(json.dumps(trace, ensure_ascii=False) + "\n" for trace in traces)
    return len(traces)


def answer(intent: str, slots: Mapping[str, Any]) -> str:
    """The reference output: compact for people, one key order."""
    ranked = sorted(slots, key=lambda k: (ORDER.index(k) if k in ORDER else len(ORDER), k))
    return json.dumps({"intent": intent, "slots": {k: slots[k] for k in ranked}})


def exact(output: str, reference: str) -> bool:
    """True if the output is JSON with exactly the reference's intent and slots."""
    try:
        return json.loads(output) == json.loads(reference)
    except ValueError:
        return False


def split_templates(templates: Sequence[Template], rng: Random) -> dict[str, list[Template]]:
    """Templates by split. Every block keeps a template in train, so nothing held out means
    something that train never says; only the wording is new."""
    blocks: dict[str, list[Template]] = defaultdict(list)
    for template in templates:
        blocks[template.block].append(template)
    spare = [t for block in blocks.values() for t in rng.sample(block, len(block))[1:]]
    rng.shuffle(spare)
    n = {name: round(share * len(templates)) for name, share in HELD_OUT.items()}
    valid, test = spare[: n["valid"]], spare[n["valid"] : n["valid"] + n["test"]]
    held = {t.group for t in valid + test}
    return {
        "train": [t for t in templates if t.group not in held],
        "valid": valid,
        "test": test,
    }


def sample(data: dict[str, Any], seed: int = 0) -> list[dict[str, Any]]:
    """All traces of the demo as JSON-ready objects, train first.

    Args:
        data: the package's compiled English grammar.
        seed: the same seed gives the same traces.

    Sentences that came out with two meanings are dropped, and held-out ones that train has too.
    """
    rng = Random(seed)
    grammar = Grammar({**data, "expansion_rules": {**data["expansion_rules"], **RULES}}, RANGES)
    known, new = Household.invent(rng, new=False), Household.invent(rng, new=True)
    found: list[dict[str, Any]] = []
    meanings: dict[str, set[str]] = defaultdict(set)
    for name, templates in split_templates(list(grammar.templates()), rng).items():
        per_intent = Counter(t.intent for t in templates)
        # Root weights: an intent with many templates is said more often, but does not drown others.
        weights = [per_intent[t.intent] ** -0.5 for t in templates]
        drawn: dict[str, dict[str, Any]] = {}
        for _ in range(_TRIES * SIZES[name]):
            if len(drawn) == SIZES[name]:
                break
            template = rng.choices(templates, weights)[0]
            house = new if name != "train" and rng.random() < _NEW_SHARE else known
            values = house.values(template, rng)
            prompt, slots = grammar.sample(template, lambda k, _, v=values: v.get(k), rng)
            output = answer(template.intent, slots)
            meanings[prompt].add(output)
            trace = {"system": SYSTEM, "prompt": prompt, "output": output, "task": TASK}
            drawn.setdefault(prompt, trace | {"split": name, "group": template.group})
        found += drawn.values()
    train = {t["prompt"] for t in found if t["split"] == "train"}
    return [
        t
        for t in found
        if len(meanings[t["prompt"]]) == 1 and (t["split"] == "train" or t["prompt"] not in train)
    ]
