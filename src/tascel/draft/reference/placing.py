"""Where an answer stands in all that may know how it goes on, and where after one more token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tascel.draft.kernels import placing
from tascel.draft.kernels.copying import Words
from tascel.draft.kernels.matching import SEPARATOR
from tascel.draft.kernels.recalling import Recalled
from tascel.draft.reference.copying import Copying, copy, written
from tascel.draft.reference.matching import (
    Match,
    Occurrence,
    advance_spread,
    followed,
    matches,
    narrowed,
    occurrences,
    spread,
)
from tascel.draft.reference.recalling import Recollection, follow_recollections, recollections


@dataclass(frozen=True)
class Known:
    """What a task's traces taught, and a request: see `Sources` and `Asked` of the kernels. `text`
    and `templates` are whole texts."""

    text: Sequence[int]
    templates: Sequence[int]
    slot: int
    frozen: Sequence[int]
    pointer: Sequence[float]
    context: Sequence[int]
    words: Words
    recalled: Recalled


@dataclass(frozen=True)
class Place:
    """Where a draft stands in what is `known`."""

    known: Known
    matches: list[Match]
    occurrences: list[Occurrence]
    templates: list[Match] = field(default_factory=list[Match])
    recollections: list[Recollection] = field(default_factory=list[Recollection])
    copying: Copying = field(default_factory=Copying)


def start(known: Known, answer: Sequence[int]) -> Place:
    """Behind an answer so far, which is the end of the context."""
    state, form = written(known.words, known.frozen, known.slot, answer)
    return Place(
        known,
        matches(known.text, [SEPARATOR, *answer]),
        occurrences(known.context),
        spread(matches(known.templates, [SEPARATOR, *form]), placing.CARRIED),
        recollections(known.recalled.text.tolist(), [SEPARATOR, *form]),
        state,
    )


def narrow(place: Place) -> Place:
    """With the matches only that `calibrated` looks at and a draft carries along."""
    return replace(place, matches=spread(place.matches, placing.CARRIED))


def follow(place: Place, token: int) -> Place:
    """After one more drafted token."""
    known, most = place.known, placing.CARRIED
    state, added = copy(known.words, known.frozen, known.slot, place.copying, token)
    after = replace(
        place,
        matches=advance_spread(known.text, place.matches, token, placing.ORDERS, most),
        occurrences=followed(known.context, place.occurrences, token),
        copying=state,
    )
    if added is None:
        return after
    text = known.recalled.text.tolist()
    return replace(
        after,
        templates=advance_spread(known.templates, place.templates, added, placing.TEMPLATES, most),
        recollections=follow_recollections(text, place.recollections, added),
    )


# ---- for the rules that look at matches and occurrences only


def only_matches(
    carry: Callable[[Sequence[int], list[Match], int], list[Match]],
) -> Callable[[Place, int], Place]:
    """From a place to the one after a drafted token; `carry` says which matches go along."""

    def after(place: Place, token: int) -> Place:
        return replace(
            place,
            matches=carry(place.known.text, place.matches, token),
            occurrences=followed(place.known.context, place.occurrences, token),
        )

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
