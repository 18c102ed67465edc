"""Where the last tokens occurred before, and what followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tascel.draft.kernels import matching

Match = tuple[int, list[int]]
Occurrence = tuple[int, int]


def suffix_array(text: Sequence[int]) -> list[int]:
    """Starts of all suffixes, sorted."""
    return sorted(range(len(text)), key=lambda i: list(text[i:]))


def matches(text: Sequence[int], context: Sequence[int]) -> list[Match]:
    """Where the context's ending occurs in `text`, longest first, one for each distinct number."""
    found: list[Match] = []
    suffixes = suffix_array(text)
    for depth in range(len(context), 0, -1):
        ending = list(context[-depth:])
        starts = [i for i in suffixes if list(text[i : i + depth]) == ending]
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


def advance_spread(
    text: Sequence[int], found: Sequence[Match], token: int, enough: int, most: int
) -> list[Match]:
    """What a drafted node carries on: the token alone joins only where few others are left."""
    *others, alone = narrowed(text, found, token)
    kept = spread(others, most)
    return kept if len(kept) >= enough else spread([*others, alone], most)


def lengths(context: Sequence[int]) -> list[int]:
    """For each position, how many tokens before it equal the context's last ones."""
    return [ending(context[:i], context) for i in range(len(context))]


def ending(one: Sequence[int], other: Sequence[int]) -> int:
    """How many last tokens two texts share."""
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length


def occurrences(context: Sequence[int]) -> list[Occurrence]:
    """(end, length) of the ending's earlier occurrences: the longest, newest first, then others."""
    repeats = [(i, n) for i, n in enumerate(lengths(context)) if n > 0][::-1]
    return longest_first(repeats, matching.OCCURRENCES)


def longest_first(found: Sequence[Occurrence], most: int) -> list[Occurrence]:
    """The longest, at most half of all that are kept, then others."""
    longest = max((n for _, n in found), default=0)
    best = [o for o in found if o[1] == longest][: most // 2]
    return (best + [o for o in found if o[1] != longest])[:most]


def followed(text: Sequence[int], found: Sequence[Occurrence], token: int) -> list[Occurrence]:
    """Occurrences that go on with a token, and after it."""
    return [(end + 1, n + 1) for end, n in found if text[end] == token and end + 1 < len(text)]


def top_of_match(text: Sequence[int], match: Match) -> list[tuple[int, int]]:
    """Most frequent next tokens of a match, with counts."""
    depth, starts = match
    return top([text[s + depth] if s + depth < len(text) else matching.END for s in starts])


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


def top_of_context(context: Sequence[int], found: Sequence[Occurrence]) -> list[tuple[int, int]]:
    """Most frequent next tokens of occurrences, newest first among equals."""
    return Counter(context[end] for end, _ in found).most_common(matching.TOP)
