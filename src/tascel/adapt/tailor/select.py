"""Which ids of a vocabulary a task's answers need: VocabTailor's static set (Zhang, Zhou et al.,
arXiv 2508.15229), and how well it covers answers that were held out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tascel.adapt.tailor.needs import Flags, Needs
from tascel.adapt.tailor.scripts import foreign
from tascel.codec import Codec
from tascel.errors import RequestError
from tascel.selection import Selection
from tascel.token_bytes import TokenBytes
from tascel.types import Ids


@dataclass(frozen=True)
class Filters:
    """What is left out of the ids that answers hold.

    Attributes:
        input_aware: ids in the prompt of each answer that they stand in: a head has those anyway.
        scripts: ids with letters of a script that hardly any answer holds.
        tolerance: the rarest ids, as long as an answer then lacks so many on average at most.
    """

    input_aware: bool = True
    scripts: bool = True
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < np.inf:
            raise RequestError(
                f"bad tolerance {self.tolerance}", "Give ids an answer may lack, 0 or more"
            )


@dataclass(frozen=True)
class Shares:
    """On answers that a selection was not made from: the share of them that is `covered` by it and
    their prompt, and the share of their tokens that it `misses`."""

    covered: float
    misses: float


@dataclass(frozen=True)
class Coverage:
    """What a selection covers.

    Attributes:
        tolerance: what it was made with.
        rows: how many it has.
        prompt_rows: rows that a prompt adds on average.
        held_out: for each way to hold answers out, see `Needs.folds`.
    """

    tolerance: float
    rows: int
    prompt_rows: float
    held_out: tuple[Shares, ...]


class Selector:
    """Selects from the ids of a task's traces, for the model of a codec."""

    def __init__(self, needs: Needs, codec: Codec) -> None:
        self._needs, self._codec = needs, codec
        self.always = always(codec)

    def select(self, filters: Filters) -> tuple[Selection, Coverage]:
        """The selection from all traces. Its shares are those of the first way to hold out: where
        traces name groups, new traffic is taken to be of none of these."""
        kept = self._kept(filters)
        coverage = self._coverage(filters, kept)
        shares = coverage.held_out[0]
        ids = np.flatnonzero(kept).astype(np.int32)
        needs = self._needs
        selection = Selection(
            ids, needs.vocab_size, filters.tolerance, shares.misses, shares.covered, len(needs)
        )
        return selection, coverage

    def coverage(self, filters: Filters, tolerances: Sequence[float]) -> list[Coverage]:
        """Selections by tolerance. Rows are those of all traces; shares come from folds in turn,
        each judged by a selection from the others."""
        each = [replace(filters, tolerance=tolerance) for tolerance in tolerances]
        return [self._coverage(one, self._kept(one)) for one in each]

    def texts(self, tolerance: float) -> Ids:
        """The ids that whole traces need, prompt and answer, but for the rarest: a trace lacks
        `tolerance` of them on average at most."""
        needs = self._needs
        keys = np.concatenate(
            [
                uses.document.astype(np.int64) * needs.vocab_size + uses.id
                for uses in (needs.answers, needs.prompts)
            ]
        )
        ids = np.unique(keys) % needs.vocab_size
        frequency = np.bincount(ids, minlength=needs.vocab_size)
        return np.flatnonzero(frequent(frequency, tolerance * len(needs))).astype(np.int32)

    def _coverage(self, filters: Filters, kept: Flags) -> Coverage:
        needs = self._needs
        prompt_rows = float((~kept[needs.prompts.id]).sum() / len(needs))
        held_out = tuple(self._shares(filters, fold) for fold in needs.folds)
        return Coverage(filters.tolerance, int(kept.sum()), prompt_rows, held_out)

    def _shares(self, filters: Filters, fold: Ids) -> Shares:
        needs, answers = self._needs, self._needs.answers
        missed = np.zeros(len(answers.id), np.bool_)
        for out in (fold == at for at in np.unique(fold)):
            there = out[answers.document]
            static = self._kept(filters, ~out)
            missed[there] = ~(static[answers.id[there]] | needs.given[there])
        uncovered = len(np.unique(answers.document[missed]))
        misses = answers.times[missed].sum() / answers.times.sum()
        return Shares(1 - uncovered / len(needs), float(misses))

    def _kept(self, filters: Filters, traces: Flags | None = None) -> Flags:
        """The ids selected from `traces` (bool[n], default: all): bool[vocab_size]."""
        needs, answers = self._needs, self._needs.answers
        traces = np.ones(len(needs), np.bool_) if traces is None else traces
        counted = traces[answers.document]
        if filters.input_aware:
            counted &= ~needs.given
        frequency = answers.frequency(needs.vocab_size, counted)
        if filters.scripts:
            frequency[self._foreign] = 0
        kept = frequent(frequency, filters.tolerance * int(traces.sum()))
        kept[self.always] = True
        return kept

    @cached_property
    def _foreign(self) -> Flags:
        spell = TokenBytes(self._codec.tokenizer)
        return foreign(self._needs.answers, spell, self._needs.vocab_size)


def frequent(frequency: NDArray[np.int64], spared: float) -> Flags:
    """All ids that occur but the rarest, whose frequencies sum up to `spared` at most. Of equally
    rare ones higher ids go first. One sort: O(n log n)."""
    order = np.lexsort((-np.arange(len(frequency)), frequency))
    kept = np.zeros(len(frequency), np.bool_)
    kept[order[np.cumsum(frequency[order]) > spared]] = True
    return kept


def always(codec: Codec) -> Ids:
    """Ids that every selection has: special and end ids, single bytes, and new tokens."""
    tokenizer = codec.tokenizer
    added = tokenizer.get_added_tokens_decoder()
    special = {id_ for id_, token in added.items() if token.special}
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    unknown = vocabulary.get(model.get("unk_token"), model.get("unk_id"))
    special |= set() if unknown is None else {unknown}
    bytes_ = TokenBytes(tokenizer).singles()
    ids = special | bytes_ | codec.eos_ids | codec.new_tokens.runs.keys()
    return np.array(sorted(ids), np.int32)
