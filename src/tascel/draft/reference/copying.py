"""Which words of its prompt an answer copies, and where the pointer says that copies begin."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tascel.draft.kernels import copying, matching
from tascel.draft.kernels.copying import Words

ALL_BITS = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Copying:
    """`places`: where in its words a copy may stand; `copied`: how many tokens it has; `last`: the
    prompt's token behind the last one copied, -1 if none was; `tail`: the template's last tokens.
    """

    places: tuple[int, ...] = ()
    copied: int = 0
    last: int = -1
    tail: tuple[int, ...] = (*[-1] * (copying.TAIL - 1), matching.SEPARATOR)


def copy(
    words: Words, frozen: Sequence[int], slot: int, state: Copying, token: int
) -> tuple[Copying, int | None]:
    """The state after one more token, and what the template gets: None while a span goes on."""
    going_on = [p for p in state.places if words.token[p] == token]
    if going_on:
        return _stand(words, replace(state, copied=state.copied + 1), going_on), None
    never = 0 <= token < len(frozen) and frozen[token]
    begun = [] if never else [w for w, p in enumerate(words.starts) if words.token[p] == token]
    if not begun:
        return Copying((), 0, state.last, (*state.tail[1:], token)), token
    after = Copying((), 1, int(words.where[begun[0]]) + 1, (*state.tail[1:], slot))
    return _stand(words, after, [int(words.starts[w]) for w in begun]), slot


def _stand(words: Words, state: Copying, taken: Sequence[int]) -> Copying:
    """A copy stands behind each of the places that it has just taken a token from."""
    behind = dict.fromkeys(int(words.follow[p]) for p in taken)
    places = [p for p in behind if p >= 0][: copying.SPANS]
    within_prompt = bool(places) and places[0] < words.length
    return replace(state, places=(*places,), last=places[0] if within_prompt else state.last)


def written(
    words: Words, frozen: Sequence[int], slot: int, output: Sequence[int]
) -> tuple[Copying, list[int]]:
    """The state after an answer, whole or not, and its template."""
    state, form = Copying(), list[int]()
    for token in output:
        state, added = copy(words, frozen, slot, state, token)
        form += [] if added is None else [added]
    return state, form


def template(words: Words, frozen: Sequence[int], slot: int, output: Sequence[int]) -> list[int]:
    """An answer with every span that it copies as one slot."""
    return written(words, frozen, slot, output)[1]


def freeze(
    words: Sequence[Words], outputs: Sequence[Sequence[int]], size: int, share: float
) -> list[int]:
    """The ids that answers write, but less than a `share` of the times where a copy may begin; what
    an open copy goes on with does not count."""
    seen, copied = Counter[int](), Counter[int]()
    for of_prompt, output in zip(words, outputs, strict=True):
        state = Copying()
        for token in output:
            state, added = copy(of_prompt, [], size, state, token)
            seen[token] += added is not None
            copied[token] += added == size
    return [int(copied[t] + 1 < share * (seen[t] + 1)) for t in range(size)]


# ---- how an open copy goes on


def go_on(words: Words, state: Copying) -> list[tuple[int, int]]:
    """The next tokens of an open copy, with how many places say so."""
    said = Counter(int(words.token[p]) for p in state.places)
    return list(said.items())[: matching.TOP]


def within_word(words: Words, state: Copying) -> bool:
    """Whether an open copy stands inside a respelled word."""
    return bool(state.places) and state.places[0] >= words.length


# ---- where a copy begins


def point(words: Words, weights: Sequence[float], state: Copying) -> list[float]:
    """How likely a copy that begins now begins at each start: a softmax over the weights of all
    pairs of the template's tail, short and long, and a trait of the start."""
    tails = _number(1, state.tail[-2:]), _number(2, state.tail)
    scores = [
        sum(
            weights[_clue(tail, trait)]
            for trait in (_relation(int(where), state.last), *traits.tolist())
            for tail in tails
        )
        for where, traits in zip(words.where, words.traits, strict=True)
    ]
    highest = max(scores, default=0.0)
    odds = [math.exp(score - highest) for score in scores]
    return [odd / sum(odds) for odd in odds]


def first_tokens(words: Words, likely: Sequence[float]) -> list[tuple[int, float]]:
    """The tokens that the likeliest starts begin with; starts that begin alike add up."""
    tokens = [int(words.token[p]) for p in words.starts]
    best_first = sorted(range(len(tokens)), key=lambda w: -likely[w])
    chosen = list(dict.fromkeys(tokens[w] for w in best_first if likely[w] > 0))
    shares = [
        (token, round(sum(p for t, p in zip(tokens, likely, strict=True) if t == token), 9))
        for token in chosen[: matching.TOP]
    ]
    return sorted(shares, key=lambda pair: -pair[1])


def _relation(where: int, last: int) -> int:
    """How far a start is from where the last copy ended, as a trait."""
    if last < 0:
        return -1
    return -2 - sum(where - last >= far for far in copying.RELATIONS.tolist())


def _number(seed: int, tail: Sequence[int]) -> int:
    """The last tokens of a template as one number of 64 bits."""
    spread = int(copying.SPREAD)
    for token in tail:
        seed = (seed ^ ((token + 7) & ALL_BITS)) * spread & ALL_BITS
        seed ^= seed >> 29
    return seed


def _clue(tail: int, trait: int) -> int:
    """Where the weight of a trait at a tail stands: 16 bits."""
    return ((tail ^ (trait & 0xFFFFFFFF)) * int(copying.SPREAD) & ALL_BITS) >> 48
