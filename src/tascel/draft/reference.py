"""What the kernels compute, said plainly and slowly, for reading and for testing them.

Texts are lists of ids; a match is (depth, starts) with `starts` in suffix order instead of an
interval of the suffix array. A rule gets a `Place` and gives its candidates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tascel.draft.kernels import growing, matching, mixing

Match = tuple[int, list[int]]
Occurrence = tuple[int, int]
Candidate = tuple[int, float, int]  # token, probability, source
Node = tuple[int, int, float, int]  # token, parent, trust, source


@dataclass(frozen=True)
class Place:
    """Where a draft stands: the corpus `text` and the `context`, and what was found in them."""

    text: Sequence[int]
    matches: list[Match]
    context: Sequence[int]
    occurrences: list[Occurrence]

    def corpus_top(self, match: Match) -> list[tuple[int, int]]:
        """Most frequent next tokens of a match, with counts."""
        depth, starts = match
        return top(
            [self.text[s + depth] if s + depth < len(self.text) else matching.END for s in starts]
        )

    def context_top(self, occurrences: Sequence[Occurrence]) -> list[tuple[int, int]]:
        """The same of occurrences, newest first among equals."""
        return Counter(self.context[end] for end, _ in occurrences).most_common(matching.TOP)


Rule = Callable[[Place], list[Candidate]]


# ---- matching


def suffix_array(text: Sequence[int]) -> list[int]:
    """Starts of all suffixes, sorted."""
    return sorted(range(len(text)), key=lambda i: list(text[i:]))


def matches(text: Sequence[int], context: Sequence[int]) -> list[Match]:
    """Where the context's ending occurs in `text`, longest first, one for each distinct number."""
    found: list[Match] = []
    for depth in range(len(context), 0, -1):
        ending = list(context[-depth:])
        starts = [i for i in suffix_array(text) if list(text[i : i + depth]) == ending]
        if len(starts) > (len(found[-1][1]) if found else 0):
            found.append((depth, starts))
    return found


def narrowed(text: Sequence[int], found: Sequence[Match], token: int) -> list[Match]:
    """Each match after one more token, and the token's own."""
    alone = (0, suffix_array(text))
    return [
        (depth + 1, [s for s in starts if s + depth < len(text) and text[s + depth] == token])
        for depth, starts in (*found, alone)
    ]


def spread(found: Sequence[Match], most: int) -> list[Match]:
    """The longest, then each at least twice as wide as the one before; none that is empty."""
    kept: list[Match] = []
    for match in found:
        if match[1] and len(match[1]) >= 2 * (len(kept[-1][1]) if kept else 0):
            kept.append(match)
    return kept[:most]


def advance_spread(text: Sequence[int], found: Sequence[Match], token: int) -> list[Match]:
    """What a drafted node carries on: the token alone joins only where few others are left."""
    *others, alone = narrowed(text, found, token)
    kept = spread(others, growing.CARRIED)
    return kept if len(kept) >= mixing.ORDERS else spread([*others, alone], growing.CARRIED)


def lengths(context: Sequence[int]) -> list[int]:
    """For each position, how many tokens before it equal the context's last ones."""
    n = len(context)

    def common(i: int) -> int:
        length = 0
        while length < i and context[i - 1 - length] == context[n - 1 - length]:
            length += 1
        return length

    return [common(i) for i in range(n)]


def occurrences(context: Sequence[int]) -> list[Occurrence]:
    """(end, length) of the ending's earlier occurrences: the longest, newest first, then others."""
    repeats = [(i, n) for i, n in enumerate(lengths(context)) if n > 0][::-1]
    longest = max((n for _, n in repeats), default=0)
    best = [o for o in repeats if o[1] == longest][: matching.OCCURRENCES // 2]
    return (best + [o for o in repeats if o[1] != longest])[: matching.OCCURRENCES]


def top(tokens: Sequence[int]) -> list[tuple[int, int]]:
    """The most frequent of sorted next `tokens` that even probing meets, with exact counts."""
    step = max(1, len(tokens) // matching.PROBES)
    counts = Counter(tokens)
    at, met = 0, list[tuple[int, int]]()
    while at < len(tokens):
        token = tokens[at]
        if token >= 0:
            met.append((token, counts[token]))
        end = tokens.index(token) + counts[token]
        at += -(-(end - at) // step) * step
    return sorted(met, key=lambda pair: -pair[1])[: matching.TOP]


# ---- mixing


def longest(place: Place) -> list[Candidate]:
    """The longer match alone; the context's unless the corpus' is longer by more than a bias."""
    in_corpus = place.matches[0][0] if place.matches else 0
    in_context = place.occurrences[0][1] if place.occurrences else 0
    if place.occurrences and in_corpus <= in_context + mixing.BIAS:
        ends = [o for o in place.occurrences if o[1] == in_context]
        return [(t, c / len(ends), mixing.CONTEXT) for t, c in place.context_top(ends)]
    if not place.matches:
        return []
    match = place.matches[0]
    return [(t, c / len(match[1]), mixing.CORPUS) for t, c in place.corpus_top(match)]


def backoff(place: Place) -> list[Candidate]:
    """The first n-gram, longest first, that was seen often and surely enough."""
    for n in (4, 3, 2, 1):
        ends = [o for o in place.occurrences if o[1] >= n]
        least, share = mixing.LAX[n - 1]
        for token, count in place.context_top(ends)[:1]:
            if count >= least and count >= share * len(ends):
                return [(token, count / len(ends), mixing.CONTEXT)]
    for n in (4, 3, 2, 1):
        deep = [m for m in place.matches if m[0] >= n]
        least, share = mixing.STRICT[n - 1]
        if deep:
            total = len(deep[-1][1])
            for token, count in place.corpus_top((n, deep[-1][1]))[:1]:
                if count >= least and count >= share * total:
                    return [(token, count / total, mixing.CORPUS)]
    return []


def interpolate(order: int, least: int, weight: float) -> Rule:
    """TASC-spec: longest matches below `order`, linearly interpolated."""

    def rule(place: Place) -> list[Candidate]:
        said: dict[int, list[float]] = {}
        deep = [m for m in place.matches if m[0] >= order - 1][-1:]
        for match in deep + [m for m in place.matches if m[0] < order - 1]:
            frequent = [(t, c) for t, c in place.corpus_top(match) if c >= least]
            if frequent:
                said = {t: [weight * c / len(match[1]), 0.0] for t, c in frequent}
                break
        if place.occurrences:
            length = min(order - 1, place.occurrences[0][1])
            ends = [o for o in place.occurrences if o[1] >= length]
            for token, count in place.context_top(ends):
                said.setdefault(token, [0.0, 0.0])[1] = (1.0 - weight) * count / len(ends)
        return [
            (t, a + b, mixing.CORPUS if a >= b else mixing.CONTEXT) for t, (a, b) in said.items()
        ]

    return rule


def gather(place: Place) -> tuple[dict[int, list[int]], list[int]]:
    """Evidence cells of every token that a group of matches names, and of each group's best."""
    groups: list[tuple[int, int, list[tuple[int, int]]] | None] = [None] * mixing.GROUPS
    for g, (depth, starts) in enumerate(spread(place.matches, mixing.ORDERS)):
        bucket = _bucket(depth, mixing.DEPTH_FLOORS)
        if place.text[starts[0]] == matching.SEPARATOR:
            bucket = mixing.WHOLE
        groups[g] = bucket, len(starts), place.corpus_top((depth, starts))
    same = [o for o in place.occurrences if o[1] == place.occurrences[0][1]]
    for g, ends in enumerate((same, place.occurrences[len(same) :]), start=mixing.ORDERS):
        if ends:
            bucket = _bucket(ends[0][1], mixing.DEPTH_FLOORS)
            groups[g] = bucket, len(ends), place.context_top(ends)
    cells: dict[int, list[int]] = {}
    for group in groups:
        for token, _ in group[2] if group else ():
            cells.setdefault(token, [-1] * mixing.GROUPS)
    nothing = [-1] * mixing.GROUPS
    for g, group in enumerate(groups):
        if group:
            depth, total, best = group
            row = (g * mixing.DEPTHS + depth) * mixing.COUNTS + _bucket(total, mixing.COUNT_FLOORS)
            shares = {t: _bucket(c / total, mixing.SHARE_FLOORS) for t, c in best}
            for token, of_token in cells.items():
                of_token[g] = row * mixing.SHARES + shares.get(token, 0)
            nothing[g] = row * mixing.SHARES + max(shares.values(), default=0)
    return cells, nothing


def calibrated(
    trust: Sequence[Sequence[float]], drift: Sequence[Sequence[Sequence[float]]]
) -> Rule:
    """A softmax over the evidence that groups add up, and the escape to none of their tokens."""

    def score(kind: int, cells: Sequence[int]) -> float:
        return sum(
            trust[kind][c] + drift[kind][g][c % mixing.SHARES]
            for g, c in enumerate(cells)
            if c >= 0
        )

    def rule(place: Place) -> list[Candidate]:
        cells, nothing = gather(place)
        scores = [score(0, of_token) for of_token in cells.values()]
        highest = max([*scores, score(1, nothing)])
        total = sum(math.exp(s - highest) for s in [*scores, score(1, nothing)])
        candidates: list[Candidate] = []
        for (token, of_token), s in zip(cells.items(), scores, strict=True):
            share = [c % mixing.SHARES if c >= 0 else 0 for c in of_token]
            corpus, context = max(share[: mixing.ORDERS]), max(share[mixing.ORDERS :])
            source = mixing.CORPUS if corpus >= context else mixing.CONTEXT
            candidates.append((token, math.exp(s - highest) / total, source))
        return candidates

    return rule


def _bucket(value: float, floors: NDArray[np.float64] | NDArray[np.int64]) -> int:
    return max(i for i, floor in enumerate(floors.tolist()) if value >= floor)


# ---- growing


@dataclass(frozen=True)
class Bounds:
    """`cost[n]`: milliseconds of the pass with n drafted tokens; `sure` tokens come of it anyway;
    `room`: how deep a draft goes."""

    cost: Sequence[float]
    room: int
    priced: bool
    chain: bool
    eos: frozenset[int]
    vocabulary: int
    sure: float = 1.0


def grow(rule: Rule, start: Place, step: Callable[[Place, int], Place], b: Bounds) -> list[Node]:
    """Best-first growth: of the trees of 0…N nodes, the one with the most tokens a millisecond."""
    nodes: list[Node] = []
    places, depths = [start], [0]
    waiting: list[Node] = []
    expected, best, best_rate = b.sure, 0, b.sure / b.cost[0]
    here, trust, ended = 0, 1.0, False
    while len(nodes) < len(b.cost) - 1:
        if depths[here] < b.room and not ended:
            if b.chain:
                waiting = []
            for token, p, source in rule(places[here]):
                likely = not b.priced or trust * p >= growing.LEAST_TRUST
                if 0 <= token < b.vocabulary and likely:
                    waiting.append((token, here - 1, trust * p, source))
        elif b.chain:
            break
        if not waiting:
            break
        node = max(waiting, key=lambda waiting_node: waiting_node[2])
        waiting.remove(node)
        nodes.append(node)
        parent, here, trust = node[1] + 1, len(nodes), node[2]
        ended = node[0] in b.eos
        places.append(step(places[parent], node[0]))
        depths.append(depths[parent] + 1)
        expected += trust
        if not b.priced or expected / b.cost[here] > best_rate:
            best, best_rate = here, expected / b.cost[here]
    return nodes[:best]


def step(carry: Callable[[Sequence[int], list[Match], int], list[Match]]) -> Callable[..., Place]:
    """From a place to the one after a drafted token; `carry` says which matches go along."""

    def after(place: Place, token: int) -> Place:
        context = place.context
        follow = [
            (end + 1, n + 1)
            for end, n in place.occurrences
            if context[end] == token and end + 1 < len(context)
        ]
        return Place(place.text, carry(place.text, place.matches, token), context, follow)

    return after


def all_sizes(text: Sequence[int], found: list[Match], token: int) -> list[Match]:
    """Every match of a distinct number of occurrences."""
    kept: list[Match] = []
    for match in narrowed(text, found, token):
        if len(match[1]) > (len(kept[-1][1]) if kept else 0):
            kept.append(match)
    return kept


def only_one(text: Sequence[int], found: list[Match], token: int) -> list[Match]:
    """A single match followed to its end."""
    return [m for m in narrowed(text, found, token)[:1] if found and m[1]]


def grow_best(start: Place, bounds: Bounds) -> list[Node]:
    """Each match on its own; the draft with the highest sum of trust, the first among equals."""
    views = [Place(start.text, [m], start.context, []) for m in start.matches]
    views.append(Place(start.text, [], start.context, start.occurrences))
    drafts = [grow(longest, view, step(only_one), bounds) for view in views]
    return max(drafts, key=lambda nodes: sum(node[2] for node in nodes))
