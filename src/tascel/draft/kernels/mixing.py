"""From a place to candidates for the next token: the mixing rules behind one interface."""

# pyright: basic

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tascel.compiled import piece
from tascel.draft.kernels.evidence import credit, weigh
from tascel.draft.kernels.gathering import gather
from tascel.draft.kernels.rules import backoff, interpolate, longest

INTERPOLATE, BACKOFF, BEST, LONGEST, CALIBRATED = range(5)


class Mixer(NamedTuple):
    """How to mix. `order`, `least`, `weight` are `interpolate`'s. `trust` f32[2, CELLS] is
    `calibrated`'s: log-odds for a token, and for none of those named; `drift` f32[2, GROUPS,
    SHARES] is what recent answers add to both."""

    rule: int
    order: int
    least: int
    weight: float
    trust: NDArray[np.float32]
    drift: NDArray[np.float32]


@piece
def mix(sources, mixer, asked, at, here, out):
    """Candidates for the token after place `here` by the mixer's rule; returns how many."""
    if mixer.rule == CALIBRATED:
        return _calibrated(sources, mixer, asked, at, here, out)
    matches, n_matches = at.matches[here], at.n_matches[here]
    occ, n_occ = at.occurrences[here], at.n_occurrences[here]
    index, context = sources.index, asked.context
    if mixer.rule == INTERPOLATE:
        return interpolate(index, mixer, matches, n_matches, context, occ, n_occ, out)
    if mixer.rule == BACKOFF:
        return backoff(index, matches, n_matches, context, occ, n_occ, out)
    return longest(index, matches, n_matches, context, occ, n_occ, out)


@piece
def _calibrated(sources, mixer, asked, at, here, out):
    """Every group adds its evidence for each token, and against all that it names: a log-linear
    mixture whose weights were learned on held-out traces (see `learning`)."""
    known = gather(sources, asked, at, here, out)
    weigh(mixer.trust, mixer.drift, known, out)
    for i in range(known):
        out.source[i] = credit(out.cells[i])
    return known
