"""From candidates to a draft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tascel.draft.kernels import growing
from tascel.draft.reference.placing import Place, only_matches, only_one
from tascel.draft.reference.rules import Rule, longest

Node = tuple[int, int, float, int]  # token, parent, trust, source


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


def grow_best(start: Place, bounds: Bounds) -> list[Node]:
    """Each match on its own; the draft with the highest sum of trust, the first among equals."""
    views = [replace(start, matches=[m], occurrences=[]) for m in start.matches]
    views.append(replace(start, matches=[]))
    drafts = [grow(longest, view, only_matches(only_one), bounds) for view in views]
    return max(drafts, key=lambda nodes: sum(node[2] for node in nodes))
