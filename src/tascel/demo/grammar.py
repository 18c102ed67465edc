"""How a voice-command grammar is turned into random sentences that carry their slot values.

The grammar is the one Home Assistant's intents package carries: templates of literal text,
`(a|b)`, `[optional]`, `(permuted;parts)`, `<rules>` and `{lists}`, parsed by hassil. hassil's own
sampler yields texts only; this one walks the same tree and remembers what each list stood for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tascel.errors import AssetError

#: `lists(list_name, random) -> value` for names and free text, None where the grammar's own list
#: is to be used.
Values = Callable[[str, Random], "str | None"]


@dataclass(frozen=True, slots=True)
class Template:
    """One sentence template with what its grammar block says about it.

    `group` is the template's stable name, `block` the name of the grammar block it stands in:
    templates of one block mean the same with the same slots. `domains` are the kinds of entity
    that `{name}` may stand for; `fixed` are slots that every sentence of the block has.
    """

    intent: str
    block: str
    group: str
    expression: Any
    domains: tuple[str, ...]
    fixed: Mapping[str, Any]


@dataclass
class Grammar:
    """The parsed grammar of one language.

    Args:
        data: the package's compiled JSON for the language.
        ranges: list name to (lowest, highest): narrows a number list to what people say.

    Raises:
        AssetError: hassil is not installed.
    """

    data: dict[str, Any]
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def __post_init__(self) -> None:
        try:
            from hassil.intents import Intents
        except ImportError as error:
            raise AssetError(
                "reading the command grammar needs hassil", "Run: pip install 'tascel[demo]'"
            ) from error
        self.intents = Intents.from_dict(self.data)

    def templates(self) -> Iterator[Template]:
        """Every sentence template, in the grammar's order."""
        for intent in self.intents.intents.values():
            for b, block in enumerate(intent.data):
                context = block.requires_context or {}
                domains = context.get("domain") or ()
                domains = (domains,) if isinstance(domains, str) else tuple(domains)
                for s, sentence in enumerate(block.sentences):
                    yield Template(
                        intent=intent.name,
                        block=f"{intent.name}.{b}",
                        group=f"{intent.name}.{b}.{s}",
                        expression=sentence.expression,
                        domains=domains,
                        fixed=block.slots or {},
                    )

    def sample(self, template: Template, values: Values, rng: Random) -> tuple[str, dict[str, Any]]:
        """One random sentence of the template and the slot values it states."""
        slots = dict(template.fixed)
        text = _Walk(self, values, rng, slots).text(template.expression)
        return re.sub(r"\s+", " ", text).strip(), slots


@dataclass(slots=True)
class _Walk:
    """One pass over one template's tree; fills `slots` on the way."""

    grammar: Grammar
    values: Values
    rng: Random
    slots: dict[str, Any]

    def text(self, node: Any) -> str:
        from hassil.expression import Alternative, Permutation, RuleReference, TextChunk

        if isinstance(node, TextChunk):
            return node.original_text
        if isinstance(node, RuleReference):
            return self.text(self.grammar.intents.expansion_rules[node.rule_name].expression)
        if isinstance(node, Alternative):
            return self.text(self._branch(node))
        if isinstance(node, Permutation):
            parts = self.rng.sample(node.items, len(node.items))
            return " ".join(self.text(part) for part in parts)
        if hasattr(node, "items"):
            return "".join(self.text(item) for item in node.items)
        return self._list(node)

    def _branch(self, node: Any) -> Any:
        """An optional is taken half of the time, whatever the number of its branches."""
        items = node.items
        if node.is_optional:
            items = items[:-1] if self.rng.random() < 0.5 else items[-1:]
        return self.rng.choice(items)

    def _list(self, node: Any) -> str:
        from hassil.intents import RangeSlotList, TextSlotList

        said = self.values(node.list_name, self.rng)
        if said is not None:
            self.slots[node.slot_name] = said
            return said
        choices = self.grammar.intents.slot_lists[node.list_name]
        if isinstance(choices, TextSlotList):
            choice = self.rng.choice(choices.values)
            self.slots[node.slot_name] = choice.value_out
            return self.text(choice.text_in)
        if not isinstance(choices, RangeSlotList):
            raise LookupError(f"the grammar's list {node.list_name} needs values")
        low, high = self.grammar.ranges.get(node.list_name, (choices.start, choices.stop))
        number: float = self.rng.randrange(low, high + 1, choices.step)
        if choices.fraction_type is not None and self.rng.random() < 0.2:
            number += 0.5
        self.slots[node.slot_name] = number * int(choices.multiplier or 1)
        return str(number)
