"""How right an answer is: exactly, and in part."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

RESAMPLES = 2000


def exact(answer: str, reference: str) -> bool:
    """Equal as JSON where the reference is JSON, else word for word in any case."""
    try:
        wanted = json.loads(reference)
    except json.JSONDecodeError:
        return answer.lower().split() == reference.lower().split()
    try:
        return json.loads(answer) == wanted
    except json.JSONDecodeError:
        return False


def parts(text: str) -> Counter[str]:
    """What partial credit is given for: the leaves of JSON with their paths, else the words."""
    try:
        return Counter(f"{path}={leaf}" for path, leaf in _leaves(json.loads(text), ""))
    except json.JSONDecodeError:
        return Counter(text.lower().split())


def f1(pairs: Sequence[tuple[str, str]]) -> float:
    """Micro F1 of the parts of (answer, reference) pairs."""
    hits = said = wanted = 0
    for answer, reference in pairs:
        of_answer, of_reference = parts(answer), parts(reference)
        hits += (of_answer & of_reference).total()
        said += of_answer.total()
        wanted += of_reference.total()
    return 2 * hits / max(1, said + wanted)


def difference(ours: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Mean of ours - base over the same examples, with its 95 % paired-bootstrap interval."""
    apart = [o - b for o, b in zip(ours, base, strict=True)]
    rng = random.Random(0)
    means = sorted(sum(rng.choices(apart, k=len(apart))) / len(apart) for _ in range(RESAMPLES))
    low, high = means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]
    return sum(apart) / len(apart), low, high


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, f"{path}[]")
    else:
        yield path, json.dumps(value)
