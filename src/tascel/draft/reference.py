"""What the kernels compute, said plainly and slowly, for reading and for testing them.

Texts are lists of ids; a match is (depth, starts) with `starts` in suffix order instead of an
interval of the suffix array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tascel.draft import kernels as k

Match = tuple[int, list[int]]
Occurrence = tuple[int, int]
Candidate = tuple[int, list[int]]  # token, trust cell of [corpus, context] or -1
Node = tuple[int, int, float, int]  # token, parent, trust, source


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
    best = [o for o in repeats if o[1] == longest][: k.OCCURRENCES // 2]
    return (best + [o for o in repeats if o[1] != longest])[: k.OCCURRENCES]


def top(tokens: Sequence[int]) -> list[tuple[int, int]]:
    """The most frequent of sorted next `tokens` that even probing meets, with exact counts."""
    step = max(1, len(tokens) // k.PROBES)
    counts = Counter(tokens)
    at, met = 0, list[tuple[int, int]]()
    while at < len(tokens):
        token = tokens[at]
        if token >= 0:
            met.append((token, counts[token]))
        end = tokens.index(token) + counts[token]
        at += -(-(end - at) // step) * step
    return sorted(met, key=lambda pair: -pair[1])[: k.TOP]


def gather(
    text: Sequence[int], found: Sequence[Match], context: Sequence[int], occ: Sequence[Occurrence]
) -> list[Candidate]:
    """Candidates for the next token with the trust cell of each source that names them."""
    known: dict[int, list[int]] = {}

    def propose(
        source: int, order: int, depth: int, total: int, best: list[tuple[int, int]]
    ) -> None:
        for token, count in best:
            cells = known.setdefault(token, [-1, -1])
            if cells[source] < 0:
                cells[source] = k.cell.py_func(source, order, depth, total, count)

    for order, (depth, starts) in enumerate(found[: k.ORDERS]):
        following = [text[s + depth] if s + depth < len(text) else k.END for s in starts]
        propose(k.CORPUS, order, depth, len(starts), top(following))
    longest = [o for o in occ if o[1] == occ[0][1]]
    for order, group in enumerate((longest, list(occ[len(longest) :]))):
        if group:
            counts = Counter(context[end] for end, _ in group)
            propose(k.CONTEXT, order, group[0][1], len(group), counts.most_common(k.TOP))
    return list(known.items())


def mix_calibrated(
    candidates: Sequence[Candidate], trust: Sequence[float], reliability: Sequence[float]
) -> list[tuple[int, float, int]]:
    """(token, probability, source) of each candidate."""
    mixed: list[tuple[int, float, int]] = []
    for token, cells in candidates:
        corpus, context = (trust[c] if c >= 0 else 0.0 for c in cells)
        source = 1 + k.CORPUS if corpus >= context else 1 + k.CONTEXT
        mixed.append((token, 1.0 - (1.0 - corpus) * (1.0 - context), source))
    total = max(1.0, sum(p for _, p, _ in mixed))

    def corrected(p: float) -> float:
        at = p * k.RELIABILITY_BINS - 0.5
        left = min(max(int(at // 1), 0), k.RELIABILITY_BINS - 2)
        value = reliability[left] + (at - left) * (reliability[left + 1] - reliability[left])
        return min(max(value, 0.0), 1.0)

    return [(token, corrected(p / total), source) for token, p, source in mixed]


def grow(
    propose: Callable[[list[int]], list[tuple[int, float, int]]],
    cost: Sequence[float],
    depth_limit: int,
    chain: bool,
    eos: frozenset[int],
    vocabulary: int,
) -> list[Node]:
    """Best-first growth; `propose(path)` gives the mixed candidates after a drafted path."""
    nodes: list[Node] = []
    paths: list[list[int]] = [[]]
    waiting: list[Node] = []
    expected, best, best_rate = 1.0, 0, 1.0 / cost[0]
    here, trust = 0, 1.0
    while True:
        open_ended = not paths[here] or paths[here][-1] not in eos
        if len(paths[here]) < depth_limit and open_ended:
            if chain:
                waiting = []
            for token, p, source in propose(paths[here]):
                if 0 <= token < vocabulary and trust * p >= k.LEAST_TRUST:
                    waiting.append((token, here - 1, trust * p, source))
        elif chain:
            break
        if len(nodes) == len(cost) - 1 or not waiting:
            break
        node = max(waiting, key=lambda waiting_node: waiting_node[2])
        waiting.remove(node)
        nodes.append(node)
        here, trust = len(nodes), node[2]
        paths.append([*paths[node[1] + 1], node[0]])
        expected += trust
        if expected / cost[here] > best_rate:
            best, best_rate = here, expected / cost[here]
    return nodes[:best]
