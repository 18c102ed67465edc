"""Where have the last tokens occurred before, and what followed?

Compiled code has no bounds checks and a bundle is untrusted input: text is only read through
`token_at`, and no id is proposed that the vocabulary does not have.

In the corpus a *match* is (depth, lo, hi): the last `depth` tokens occur before the positions
`array[lo:hi]` + depth. Matches are kept longest first, one for each distinct number of occurrences:
an equal number means the same occurrences, and stays so. In the context an *occurrence* is
(end, length): the `length` tokens before position `end` are also the last ones.
"""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import part

Ints = NDArray[np.int32]
Places = NDArray[np.int64]  # matches and occurrences: one kind of number compiles once

SEPARATOR = -1
END = -2  # sorts below every token: a suffix that ends is smaller than one that goes on
MATCHES = 24  # distinct matches kept for one position
OCCURRENCES = 48  # context occurrences kept for one position
TOP = 4  # tokens that one match may propose
PROBES = 16  # probes into a wide interval
WIDE = 8  # a match of more occurrences is remembered with what follows it
SLOTS = 16_384  # so many of them


class Index(NamedTuple):
    """`text` i32[n]: outputs, each led by the separator -1, then ids up to the closing id.
    `array` i32[n]: its suffix array.

    Wide matches are slow to look into and few are asked for again and again, so the kernels note
    what they found: in `tops` i32[SLOTS, 4 + 2 TOP] (depth, lo, hi, found, tokens, counts) of a
    match; in `steps` i32[SLOTS, 6] (depth, lo, hi, token, lo, hi) of a match and the part of it
    that goes on with a token.
    """

    text: Ints
    array: Ints
    tops: Ints
    steps: Ints

    @staticmethod
    def of(text: Ints, array: Ints) -> Index:
        """With nothing noted yet."""
        tops = np.full((SLOTS, 4 + 2 * TOP), -1, np.int32)
        return Index(text, array, tops, np.full((SLOTS, 6), -1, np.int32))


@part
def token_at(index, i, depth):
    """The token `depth` behind the start of suffix `i`, END where the text ends."""
    p = index.array[i] + depth
    if p < 0 or p >= len(index.text):
        return np.int32(END)
    return index.text[p]


@part
def _bound(index, lo, hi, depth, token, after):
    """First suffix in [lo, hi) whose token is >= `token` (> when `after`)."""
    while lo < hi:
        mid = (lo + hi) >> 1
        here = token_at(index, mid, depth)
        if here < token or (after and here == token):
            lo = mid + 1
        else:
            hi = mid
    return lo


@part
def _run(index, lo, at, hi, depth, token):
    """Ends of the run of `token` around `at` in [lo, hi): gallops, since most runs are short."""
    jump = 1
    first = at
    while first - jump >= lo and token_at(index, first - jump, depth) == token:
        first -= jump
        jump *= 2
    first = _bound(index, max(lo, first - jump + 1), first, depth, token, False)
    jump = 1
    last = at + 1
    while last + jump <= hi and token_at(index, last + jump - 1, depth) == token:
        last += jump
        jump *= 2
    return first, _bound(index, last, min(hi, last + jump - 1), depth, token, True)


@part
def _narrow(index, depth, lo, hi, token):
    """The part of a match that goes on with `token`."""
    if hi - lo == 1:
        return lo, hi if token_at(index, lo, depth) == token else lo
    if hi - lo <= WIDE:
        lo = _bound(index, lo, hi, depth, token, False)
        return lo, _bound(index, lo, hi, depth, token, True)
    note = index.steps[_slot(depth, lo, hi, token)]
    if note[0] != depth or note[1] != lo or note[2] != hi or note[3] != token:
        note[0], note[1], note[2], note[3] = depth, lo, hi, token
        note[4] = _bound(index, lo, hi, depth, token, False)
        note[5] = _bound(index, note[4], hi, depth, token, True)
    return note[4], note[5]


@part
def _slot(depth, lo, hi, token):
    return (lo * 31 + hi * 17 + depth * 7 + token) & (SLOTS - 1)


@part
def advance(index: Index, matches: Places, count: Any, token: Any, out: Places) -> int:
    """Matches after one more `token`: `matches` i64[>=count, 3] to `out`; returns how many."""
    kept = 0
    size = 0
    for m in range(count + 1):
        if m < count:
            depth, lo, hi = matches[m, 0], matches[m, 1], matches[m, 2]
        else:  # the match of the token alone
            depth, lo, hi = 0, 0, len(index.array)
        lo, hi = _narrow(index, depth, lo, hi, token)
        if hi - lo <= size:
            continue
        if kept == MATCHES:
            kept -= 1
        size = hi - lo
        out[kept, 0], out[kept, 1], out[kept, 2] = depth + 1, lo, hi
        kept += 1
    return kept


@part
def spread(matches: Places, count: int, out: Places) -> int:
    """Of the matches the longest, then each at least twice as wide as the one before, at most
    len(out): what mixing looks at and a draft carries along."""
    kept = 0
    size = 0
    for m in range(count):
        width = matches[m, 2] - matches[m, 1]
        if kept == len(out):
            break
        if width >= 2 * size:
            out[kept, 0], out[kept, 1], out[kept, 2] = matches[m, 0], matches[m, 1], matches[m, 2]
            size = width
            kept += 1
    return kept


@part
def advance_spread(index, matches, count, token, enough, out):
    """As `advance` and `spread` in one. The token alone, whose match is the widest and slowest to
    find, joins only where fewer than `enough` others are left."""
    kept = 0
    size = 0
    for m in range(count + 1):
        if m < count:
            depth, lo, hi = matches[m, 0], matches[m, 1], matches[m, 2]
        elif kept < enough:
            depth, lo, hi = 0, 0, len(index.array)
        else:
            break
        lo, hi = _narrow(index, depth, lo, hi, token)
        if hi > lo and hi - lo >= 2 * size:
            size = hi - lo
            out[kept, 0], out[kept, 1], out[kept, 2] = depth + 1, lo, hi
            kept += 1
            if kept == len(out):
                break
    return kept


@part
def top_of_match(index, depth, lo, hi, tokens, counts):
    """The most frequent next tokens of a match, up to TOP, most frequent first; how many."""
    if hi - lo <= WIDE:
        return probe(index, depth, lo, hi, tokens, counts)
    note = index.tops[_slot(depth, lo, hi, 0)]
    if note[0] != depth or note[1] != lo or note[2] != hi:
        note[0], note[1], note[2] = depth, lo, hi
        note[3] = probe(index, depth, lo, hi, note[4 : 4 + TOP], note[4 + TOP :])
    for i in range(note[3]):
        tokens[i], counts[i] = note[4 + i], note[4 + TOP + i]
    return np.int64(note[3])


@part
def probe(index, depth, lo, hi, tokens, counts):
    """As `top_of_match`, looked up.

    Probes evenly and measures each new run of equal tokens exactly, so every token with a share
    above 1 / PROBES is found whatever the interval's width.
    """
    found = 0
    step = max(1, (hi - lo) // PROBES)
    at = lo
    while at < hi:
        token = token_at(index, at, depth)
        first, last = _run(index, lo if step > 1 else at, at, hi, depth, token)
        if token >= 0:
            found = _insert(tokens, counts, found, token, last - first)
        # the next probe that lies behind this run
        at += max(1, (last - at + step - 1) // step) * step
    return found


@part
def _insert(tokens, counts, found, token, count):
    """Keep `tokens` sorted by count, at most TOP; earlier wins among equals."""
    place = found
    while place > 0 and counts[place - 1] < count:
        place -= 1
    if place >= TOP:
        return found
    last = min(found, TOP - 1)
    for i in range(last, place, -1):
        tokens[i], counts[i] = tokens[i - 1], counts[i - 1]
    tokens[place], counts[place] = token, count
    return min(found + 1, TOP)


@part
def extend_context(context: Ints, length: int, lengths: Ints, token: Any) -> int:
    """Append `token` at `length`; `lengths[i]` = how many tokens before i equal the last ones."""
    for i in range(length, 0, -1):
        lengths[i] = lengths[i - 1] + 1 if context[i - 1] == token else 0
    lengths[0] = 0
    context[length] = token
    return length + 1


@part
def match_context(context: Ints, length: int, lengths: Ints) -> None:
    """`lengths` of a whole context at once: the Z-algorithm, read backwards. Linear time."""
    lengths[0] = 0
    left, right = 0, 0  # the furthest-reaching stretch known to repeat the ending, from behind
    for k in range(1, length):
        z = 0
        if k < right:
            z = min(right - k, lengths[length - (k - left)])
        while k + z < length and context[length - 1 - z] == context[length - 1 - k - z]:
            z += 1
        lengths[length - k] = z
        if k + z > right:
            left, right = k, k + z


@part
def occurrences(length: int, lengths: Ints, out: Places) -> int:
    """Occurrences of the context's own ending, longest first, then newest: i64[OCCURRENCES, 2]."""
    longest = np.int32(0)
    for i in range(1, length):
        longest = max(longest, lengths[i])
    if longest == 0:
        return 0
    count = 0
    for whole in (True, False):
        room = OCCURRENCES // 2 if whole else OCCURRENCES
        for i in range(length - 1, 0, -1):
            if count == room:
                break
            if lengths[i] > 0 and (lengths[i] == longest) == whole:
                out[count, 0], out[count, 1] = i, lengths[i]
                count += 1
    return count


@part
def follow_occurrences(context, length, occ, count, token, out):
    """Occurrences after one more drafted `token`."""
    kept = 0
    for o in range(count):
        end = occ[o, 0]
        if context[end] == token and end + 1 < length:
            out[kept, 0], out[kept, 1] = end + 1, occ[o, 1] + 1
            kept += 1
    return kept


@part
def top_of_context(context, occ, start, stop, tokens, counts):
    """The most frequent next tokens of occurrences [start, stop), newest first among equals."""
    found = 0
    for o in range(start, stop):
        token = context[occ[o, 0]]
        count = 0
        first = True
        for other in range(start, stop):
            if context[occ[other, 0]] == token:
                count += 1
                first = first and other >= o
        if first:
            found = _insert(tokens, counts, found, token, count)
    return found
