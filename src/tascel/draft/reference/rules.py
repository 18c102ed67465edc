"""The mixing rules of others: shares are taken for probabilities."""

from __future__ import annotations

from collections.abc import Callable

from tascel.draft.kernels import evidence, rules
from tascel.draft.reference.matching import top_of_context, top_of_match
from tascel.draft.reference.placing import Place

Candidate = tuple[int, float, int]  # token, probability, source
Rule = Callable[[Place], list[Candidate]]


def longest(place: Place) -> list[Candidate]:
    """The longer match alone; the context's unless the corpus' is longer by more than a bias."""
    in_corpus = place.matches[0][0] if place.matches else 0
    in_context = place.occurrences[0][1] if place.occurrences else 0
    if place.occurrences and in_corpus <= in_context + rules.BIAS:
        ends = [o for o in place.occurrences if o[1] == in_context]
        best = top_of_context(place.known.context, ends)
        return [(t, c / len(ends), evidence.CONTEXT) for t, c in best]
    if not place.matches:
        return []
    match = place.matches[0]
    best = top_of_match(place.known.text, match)
    return [(t, c / len(match[1]), evidence.CORPUS) for t, c in best]


def backoff(place: Place) -> list[Candidate]:
    """The first n-gram, longest first, that was seen often and surely enough."""
    for n in (4, 3, 2, 1):
        ends = [o for o in place.occurrences if o[1] >= n]
        least, share = rules.LAX[n - 1]
        for token, count in top_of_context(place.known.context, ends)[:1]:
            if count >= least and count >= share * len(ends):
                return [(token, count / len(ends), evidence.CONTEXT)]
    for n in (4, 3, 2, 1):
        deep = [m for m in place.matches if m[0] >= n]
        least, share = rules.STRICT[n - 1]
        if deep:
            total = len(deep[-1][1])
            for token, count in top_of_match(place.known.text, (n, deep[-1][1]))[:1]:
                if count >= least and count >= share * total:
                    return [(token, count / total, evidence.CORPUS)]
    return []


def interpolate(order: int, least: int, weight: float) -> Rule:
    """TASC-spec: longest matches below `order`, linearly interpolated."""

    def rule(place: Place) -> list[Candidate]:
        said: dict[int, list[float]] = {}
        deep = [m for m in place.matches if m[0] >= order - 1][-1:]
        for match in deep + [m for m in place.matches if m[0] < order - 1]:
            best = top_of_match(place.known.text, match)
            frequent = [(t, c) for t, c in best if c >= least]
            if frequent:
                said = {t: [weight * c / len(match[1]), 0.0] for t, c in frequent}
                break
        if place.occurrences:
            length = min(order - 1, place.occurrences[0][1])
            ends = [o for o in place.occurrences if o[1] >= length]
            for token, count in top_of_context(place.known.context, ends):
                said.setdefault(token, [0.0, 0.0])[1] = (1.0 - weight) * count / len(ends)
        return [
            (t, a + b, evidence.CORPUS if a >= b else evidence.CONTEXT)
            for t, (a, b) in said.items()
        ]

    return rule
