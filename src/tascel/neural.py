"""What a bundle keeps of neural drafts: changes to the first layers of the model that it serves.

A draft is the model's own first layers under its own head, with an adapter on them. Only the
adapters are stored, a few megabytes each, and what held-out answers said of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from tascel.draft.confidence import Confidence
from tascel.draft.price import Points, Price
from tascel.errors import BundleError
from tascel.route.policy import WIDEST, Tally

FOLDER = "neural"
FACTS = f"{FOLDER}/neural.json"
#: What PEFT calls an adapter's files.
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_FORMAT = 1
_MOST = 2.0**53
#: Tokens of a priced pass, and layers, that a draft may have.
_WIDEST, _DEEPEST = 4096, 4096
_REBUILD = "The bundle is damaged: copy it again, or build and distil it again"


@dataclass(frozen=True, slots=True, eq=False)
class CutDraft:
    """One stored draft.

    Attributes:
        name: what reports call it.
        layers: how many of the model's first ones it has.
        points: what its passes cost by rows and tokens, in passes of one token of the whole model.
        confidence: how far to trust its probabilities.
    """

    name: str
    layers: int
    points: Points
    confidence: Confidence

    def price(self, target: Price) -> Price:
        """What its passes cost where those of the whole model cost `target`."""
        plain = target.plain()
        scaled = {
            rows: {tokens: ms * plain for tokens, ms in by_tokens.items()}
            for rows, by_tokens in self.points.items()
        }
        return Price.from_rows(scaled)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A way to draft: the `draft`-th stored one, alone or `extended`, behind what n-grams say; and
    what it made of a task's held-out answers."""

    draft: int
    extended: bool
    tally: Tally


@dataclass(frozen=True, slots=True, eq=False)
class TaskChoices:
    """What there is to choose from for one task (None: there is but one): `ngrams` are the tallies
    of the task's own n-grams and of all tasks' together, or of the latter alone, on the same
    answers as those of the `choices`."""

    task: str | None
    ngrams: Sequence[Tally]
    choices: Sequence[Choice]


@dataclass(frozen=True, slots=True, eq=False)
class Neural:
    """All neural drafts of a bundle. `target` is the fingerprint of the weights they are cut from:
    with others they would be noise."""

    target: str
    drafts: Sequence[CutDraft]
    tasks: Sequence[TaskChoices]

    def of(self, task: str | None) -> TaskChoices | None:
        """What a task may choose from, None if nothing was learned for it."""
        return next((found for found in self.tasks if found.task == task), None)


def adapter_folder(bundle: Path, at: int) -> Path:
    """Where the adapter of a bundle's `at`-th neural draft lies."""
    return bundle / FOLDER / f"{at:03}"


def write_neural(folder: Path, neural: Neural, adapters: Sequence[Path]) -> None:
    """Into a bundle's folder that is being written; `adapters` are folders, one for each draft."""
    (folder / FOLDER).mkdir()
    for at, adapter in enumerate(adapters):
        place = adapter_folder(folder, at)
        place.mkdir()
        for name in ADAPTER:
            shutil.copyfile(adapter / name, place / name)
    facts = {
        "format": _FORMAT,
        "target": neural.target,
        "drafts": [
            {
                "name": draft.name,
                "layers": draft.layers,
                "points": draft.points,
                "confidence": draft.confidence.to_json(),
            }
            for draft in neural.drafts
        ],
        "tasks": [
            {
                "task": task.task,
                "ngrams": [_tally_facts(tally) for tally in task.ngrams],
                "choices": [
                    {
                        "draft": choice.draft,
                        "extended": choice.extended,
                        "tally": _tally_facts(choice.tally),
                    }
                    for choice in task.choices
                ],
            }
            for task in neural.tasks
        ],
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_neural(bundle: Path, tasks: Sequence[str]) -> Neural:
    """What `write_neural` wrote, for a bundle of these `tasks`, none if they are one. The adapters
    are left where they are.

    Raises:
        BundleError: missing, damaged, of a newer format or of other tasks.
    """
    path = bundle / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT:
            raise ValueError(f"is of format {facts['format']!r}, this tascel reads {_FORMAT}")
        drafts = [_draft(found) for found in facts["drafts"]]
        wanted = [*tasks] or [None]
        neural = Neural(
            _is(facts["target"], str),
            drafts,
            [_task(found, len(drafts), wanted) for found in facts["tasks"]],
        )
        for at in range(len(drafts)):
            for name in ADAPTER:
                if not (adapter_folder(bundle, at) / name).is_file():
                    raise ValueError(f"names a draft without {name}")
        return neural
    except (OSError, RecursionError) as reason:
        raise BundleError(f"{path}: cannot be read ({reason})", _REBUILD) from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as reason:
        raise BundleError(f"{path}: {reason}", _REBUILD) from None


def _draft(facts: Any) -> CutDraft:
    points = {
        int(rows): {int(tokens): _number(ms) for tokens, ms in by_tokens.items()}
        for rows, by_tokens in facts["points"].items()
    }
    if any(not 0 < rows <= tokens <= _WIDEST for rows, of in points.items() for tokens in of):
        raise ValueError("prices impossible passes")
    if 1 not in points or not all(points.values()):
        raise ValueError("prices no pass")
    layers = _is(facts["layers"], int)
    if not 1 <= layers <= _DEEPEST:
        raise ValueError(f"has a draft of {layers} layers")
    name = _is(facts["name"], str)
    return CutDraft(name, layers, points, Confidence.from_json(facts["confidence"]))


def _task(facts: Any, drafts: int, tasks: Sequence[str | None]) -> TaskChoices:
    if facts["task"] not in tasks:
        raise ValueError(f"chooses for {facts['task']!r}, which is no task")
    ngrams = [_tally(found) for found in facts["ngrams"]]
    if len(ngrams) != (1 if facts["task"] is None else 2):
        raise ValueError(f"has tallies of {len(ngrams)} n-gram drafts")
    choices = [
        Choice(_is(found["draft"], int), _is(found["extended"], bool), _tally(found["tally"]))
        for found in facts["choices"]
    ]
    if not all(0 <= choice.draft < drafts for choice in choices):
        raise ValueError("chooses a draft that is not there")
    return TaskChoices(facts["task"], ngrams, choices)


def _tally_facts(tally: Tally) -> Mapping[str, Any]:
    return {"tokens": tally.tokens, "passes": tally.passes.tolist(), "drafting": tally.drafting}


def _tally(facts: Any) -> Tally:
    passes = [_number(count) for count in facts["passes"]]
    if len(passes) != WIDEST + 1:
        raise ValueError(f"counts passes of {len(passes)} widths")
    return Tally(_number(facts["tokens"]), np.array(passes), _number(facts["drafting"]))


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value) or not 0 <= value <= _MOST:
        raise ValueError(f"counts {value!r} of something")
    return float(value)


def _is(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise ValueError(f"has {value!r} where a {kind.__name__} belongs")
    return value
