"""What did similar prompts get for an answer?

The templates of their answers, the most similar first, are one short text, each led by a separator.
A *recollection* is (end, length): the `length` tokens before position `end` of that text are also
the last ones of this answer's template.
"""

# pyright: basic

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tascel.compiled import kernel, part
from tascel.draft.kernels.matching import SEPARATOR, TOP, Ints, Places

RECOLLECTIONS = 24  # kept for one position,
SORTED = 36  # and what it takes to sort the longest from all others at one look
FULL = 1000  # the weight of an answer to the very same prompt


class Recalled(NamedTuple):
    """`text` i32[M] and, for each of its tokens, the `weight` i32[M] of the answer it belongs to,
    at most FULL."""

    text: Ints
    weight: Ints


@kernel
def recall(
    text: Ints, places: Ints, traces: Ints, similarity: Any, tokens: Ints, weights: Ints
) -> int:
    """Write down the templates of `traces`, which stand at `places` of the `text`, as far as there
    is room; how many tokens. None of it is trusted."""
    n = 0
    for k in range(len(traces)):
        trace = traces[k]
        if trace < 0 or trace >= len(places):
            continue
        weight = max(1, round(FULL * np.float64(similarity[k])))
        last = places[trace + 1] if trace + 1 < len(places) else len(text)
        for i in range(max(0, places[trace]), min(last, len(text))):
            if n == len(tokens):
                return n
            tokens[n], weights[n] = text[i], weight
            n += 1
    return n


@part
def extend_recalled(text: Ints, lengths: Ints, token: Any) -> None:
    """One more `token` of the template: `lengths[i]` = how many tokens before i equal its last."""
    for i in range(len(text) - 1, 0, -1):
        lengths[i] = lengths[i - 1] + 1 if text[i - 1] == token else 0
    if len(text) > 0:
        lengths[0] = 0


@part
def recollections(text: Ints, lengths: Ints, out: Places) -> int:
    """Longest first, at most half of them equally long, then those of the most similar prompts:
    i64[SORTED, 2], of which RECOLLECTIONS are kept."""
    longest = np.int32(0)
    for i in range(1, len(text)):  # without a branch: so it is a few vector operations
        longest = max(longest, lengths[i] if text[i] != SEPARATOR else np.int32(0))
    if longest == 0:
        return 0
    half = len(out) - RECOLLECTIONS
    count, others = 0, half
    for i in range(1, len(text)):
        if lengths[i] > 0 and text[i] != SEPARATOR:
            if lengths[i] < longest:
                if others < len(out):
                    out[others, 0], out[others, 1] = i, lengths[i]
                    others += 1
            elif count < half:
                out[count, 0], out[count, 1] = i, lengths[i]
                count += 1
    for o in range(half, min(others, len(out) - count)):
        out[count, 0], out[count, 1] = out[o, 0], out[o, 1]
        count += 1
    return count


@part
def follow_recollections(text, occ, count, token, out):
    """Recollections after one more token of the template."""
    kept = 0
    for o in range(count):
        end = occ[o, 0]
        if text[end] == token and end + 1 < len(text) and text[end + 1] != SEPARATOR:
            out[kept, 0], out[kept, 1] = end + 1, occ[o, 1] + 1
            kept += 1
    return kept


@part
def top_of_recalled(recalled, occ, start, stop, tokens, counts):
    """The next tokens of recollections [start, stop) with the largest sums of weights; how many,
    and the sum of all."""
    found = 0
    total = 0
    for o in range(start, stop):
        end = occ[o, 0]
        token, weight = recalled.text[end], recalled.weight[end]
        total += weight
        place = 0
        while place < found and tokens[place] != token:
            place += 1
        if place == found:
            if found == TOP:  # so many others came from more similar prompts
                continue
            tokens[place], counts[place] = token, 0
            found += 1
        counts[place] += weight
        while place > 0 and counts[place - 1] < counts[place]:
            tokens[place - 1], tokens[place] = tokens[place], tokens[place - 1]
            counts[place - 1], counts[place] = counts[place], counts[place - 1]
            place -= 1
    return found, total
