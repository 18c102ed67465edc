"""What similar prompts got for an answer."""

from __future__ import annotations

from collections.abc import Sequence

from tascel.draft.kernels import matching, recalling
from tascel.draft.kernels.recalling import Recalled
from tascel.draft.reference.matching import ending, longest_first

Recollection = tuple[int, int]


def recollections(text: Sequence[int], form: Sequence[int]) -> list[Recollection]:
    """(end, length): so many tokens before `end` of the recalled `text` are also the last of the
    template `form`. The longest first, then those of the most similar prompts."""
    repeats = [(i, ending(text[:i], form)) for i in range(1, len(text))]
    inside = [(i, n) for i, n in repeats if n > 0 and text[i] != matching.SEPARATOR]
    return longest_first(inside, recalling.RECOLLECTIONS)


def follow_recollections(
    text: Sequence[int], found: Sequence[Recollection], token: int
) -> list[Recollection]:
    """Recollections after one more token of the template; none leaves its answer."""
    inside = [(end, n) for end, n in found if end + 1 < len(text) and text[end] == token]
    return [(end + 1, n + 1) for end, n in inside if text[end + 1] != matching.SEPARATOR]


def top_of_recalled(
    recalled: Recalled, found: Sequence[Recollection]
) -> tuple[list[tuple[int, int]], int]:
    """The next tokens of recollections by the weights of those that say so, and the sum of all.
    Who has a weight first stands first."""
    weights: dict[int, int] = {}
    ranked: list[int] = []
    for end, _ in found:
        token = int(recalled.text[end])
        if token not in weights:
            if len(ranked) == matching.TOP:
                continue
            ranked.append(token)
        weights[token] = weights.get(token, 0) + int(recalled.weight[end])
        ranked.sort(key=lambda t: -weights[t])
    total = sum(int(recalled.weight[end]) for end, _ in found)
    return [(token, weights[token]) for token in ranked], total
