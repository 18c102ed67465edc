"""What every group of matches says of the next token, added up as evidence: rule `calibrated`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tascel.draft.kernels import evidence, matching, placing
from tascel.draft.reference.copying import first_tokens, go_on, point, within_word
from tascel.draft.reference.matching import Match, spread, top_of_context, top_of_match
from tascel.draft.reference.placing import Place
from tascel.draft.reference.recalling import top_of_recalled
from tascel.draft.reference.rules import Candidate, Rule


@dataclass(frozen=True)
class Said:
    """What a group says: the buckets of its length and number, and the share of each token, in
    the order in which it names them."""

    depth: int
    count: int
    shares: list[tuple[int, float]]


def gather(place: Place) -> tuple[dict[int, list[int]], list[int]]:
    """Evidence cells of every token that a group names, and of each group's best."""
    groups = _groups(place)
    cells: dict[int, list[int]] = {}
    for group in groups:
        for token, _ in group.shares if group else ():
            cells.setdefault(token, [-1] * evidence.GROUPS)
    nothing = [-1] * evidence.GROUPS
    for g, group in enumerate(groups):
        if group:
            row = (g * evidence.DEPTHS + group.depth) * evidence.COUNTS + group.count
            best = dict.fromkeys(cells, 0)
            for token, share in group.shares:
                best[token] = max(best[token], bucket(share, evidence.SHARE_FLOORS.tolist()))
            for token, of_token in cells.items():
                of_token[g] = row * evidence.SHARES + best[token]
            nothing[g] = row * evidence.SHARES + max(best.values(), default=0)
    return cells, nothing


def _groups(place: Place) -> list[Said | None]:
    """All groups: matches of the corpus, of templates; occurrences in the context; recollections;
    copies. A slot that a group names stands for the tokens that a copy may begin with."""
    known = place.known
    groups: list[Said | None] = [None] * evidence.GROUPS
    for m, match in enumerate(spread(place.matches, placing.ORDERS)):
        groups[m] = _of_match(known.text, match)
    for m, match in enumerate(spread(place.templates, placing.TEMPLATES)):
        groups[evidence.OF_TEMPLATES + m] = _of_match(known.templates, match)
    for others, ends in enumerate(_longest_and_others(place.occurrences)):
        if ends:
            count = bucket(len(ends), evidence.COUNT_FLOORS.tolist())
            best = [(t, c / len(ends)) for t, c in top_of_context(known.context, ends)]
            groups[evidence.OF_CONTEXT + others] = Said(_depth(ends[0][1]), count, best)
    for others, ends in enumerate(_longest_and_others(place.recollections)):
        if ends:
            groups[evidence.OF_RECALLED + others] = _of_recollections(place, ends)
    begins, sure = _beginnings(place), 0.0
    for group in groups:
        for token, share in group.shares if group else ():
            if token == known.slot and begins is not None:
                sure = max(sure, share)
    groups = [group and _without_slot(group, known.slot, begins or []) for group in groups]
    if place.copying.places:
        groups[evidence.OF_SLOTS] = _open_copy(place)
    elif sure > 0.0:
        depth = evidence.WORDS + bucket(sure, evidence.SURE_FLOORS.tolist())
        groups[evidence.OF_SLOTS] = Said(depth, 0, begins or [])
    return groups


def _of_match(text: Sequence[int], match: Match) -> Said:
    depth, starts = match
    return Said(
        evidence.WHOLE if text[starts[0]] == matching.SEPARATOR else _depth(depth),
        bucket(len(starts), evidence.COUNT_FLOORS.tolist()),
        [(t, c / len(starts)) for t, c in top_of_match(text, match)],
    )


def _of_recollections(place: Place, ends: list[tuple[int, int]]) -> Said:
    recalled = place.known.recalled
    end, length = ends[0]
    whole = int(recalled.text[end - length]) == matching.SEPARATOR
    best, total = top_of_recalled(recalled, ends)
    likest = max(int(recalled.weight[end]) for end, _ in ends)
    return Said(
        evidence.WHOLE if whole else _depth(length),
        bucket(likest, evidence.WEIGHT_FLOORS.tolist()),
        [(token, weight / total) for token, weight in best],
    )


def _beginnings(place: Place) -> list[tuple[int, float]] | None:
    """What a copy would begin with; None where none can begin."""
    words = place.known.words
    if place.copying.places or not len(words.starts):
        return None
    return first_tokens(words, point(words, place.known.pointer, place.copying))


def _without_slot(group: Said, slot: int, begins: list[tuple[int, float]]) -> Said:
    shares: list[tuple[int, float]] = []
    for token, share in group.shares:
        shares += [(t, share * p) for t, p in begins] if token == slot else [(token, share)]
    return Said(group.depth, group.count, shares)


def _open_copy(place: Place) -> Said:
    words, state = place.known.words, place.copying
    inside = within_word(words, state)
    return Said(
        0 if inside else min(state.copied, evidence.WORDS - 1),
        bucket(len(state.places), evidence.COUNT_FLOORS.tolist()),
        [(t, c / len(state.places)) for t, c in go_on(words, state)],
    )


def _longest_and_others(
    found: list[tuple[int, int]],
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The longest come first."""
    same = [o for o in found if o[1] == found[0][1]]
    return same, found[len(same) :]


def _depth(length: int) -> int:
    return bucket(length, evidence.DEPTH_FLOORS.tolist())


def bucket(value: float, floors: Sequence[float]) -> int:
    """The last bucket whose floor is not above `value`."""
    return max(i for i, floor in enumerate(floors) if value >= floor)


def calibrated(
    trust: Sequence[Sequence[float]], drift: Sequence[Sequence[Sequence[float]]]
) -> Rule:
    """A softmax over the evidence that groups add up, and the escape to none of their tokens."""

    def score(kind: int, cells: Sequence[int]) -> float:
        return sum(
            trust[kind][c] + drift[kind][g][c % evidence.SHARES]
            for g, c in enumerate(cells)
            if c >= 0
        )

    def rule(place: Place) -> list[Candidate]:
        cells, nothing = gather(place)
        scores = [score(0, of_token) for of_token in cells.values()]
        highest = max([*scores, score(1, nothing)])
        total = sum(math.exp(s - highest) for s in [*scores, score(1, nothing)])
        return [
            (token, math.exp(s - highest) / total, credit(of_token))
            for (token, of_token), s in zip(cells.items(), scores, strict=True)
        ]

    return rule


def credit(cells: Sequence[int]) -> int:
    """Whose group names a token with the largest share; among equals the first group's, but a copy
    is a copy unless the corpus says as much. Templates speak for the corpus."""
    shares = [c % evidence.SHARES if c >= 0 else 0 for c in cells]
    best = max(shares)
    first = shares.index(best)
    if best == 0 or first < evidence.OF_CONTEXT:
        return evidence.CORPUS
    if shares[evidence.OF_SLOTS] == best:
        return evidence.SLOTS
    return evidence.CONTEXT if first < evidence.OF_RECALLED else evidence.NEIGHBOURS
