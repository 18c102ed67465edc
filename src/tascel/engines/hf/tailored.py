"""Rows under a reduced head.

Lossless, the reduced head only guesses: what is asked for is scored by the whole head, and tokens
that `rough` ran ahead over are not read again when they are offered. Fast, it decides alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tascel.decode.engine import Row, Verdict
from tascel.draft.base import Proposal
from tascel.engines.hf.rows import Rows
from tascel.engines.hf.scores import Nodes, PartVerdict, Place, Whole, WholeVerdict
from tascel.engines.hf.vocabulary import Vocabulary
from tascel.types import Ids


@dataclass(slots=True, eq=False)
class TailoredRow:
    """A row, the head's slots that its prompt joined, and all slots it may be answered from, by
    ascending id.

    `ahead` are tokens that were read and not kept yet, `places` where each was scored. Between
    `check` and `keep`, `known` says how many of them are offered, None if they play no part, and
    `read` how many more the pass has read.
    """

    row: Row
    joined: list[int]
    slots: NDArray[np.intp]
    ahead: list[int] = field(default_factory=list[int])
    places: list[Place] = field(default_factory=list[Place])
    known: int | None = None
    read: int = 0


class Tailored:
    """The rows of `inner`, whose verdicts are `PartVerdict`s: scored by the reduced head and, if
    `lossless`, by the whole one."""

    def __init__(self, inner: Rows, vocabulary: Vocabulary, lossless: bool) -> None:
        self._inner = inner
        self._vocabulary = vocabulary
        self._head = vocabulary.head
        self._lossless = lossless

    @property
    def prefixes(self) -> bool:
        """Whether prompts are kept for later requests that begin alike."""
        return self._inner.prefixes

    @prefixes.setter
    def prefixes(self, kept: bool) -> None:
        self._inner.prefixes = kept

    def fits(self, size: int) -> bool:
        """Whether a row of `size` tokens has room."""
        return self._inner.fits(size)

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """A row; the prompt's ids join the head until it closes."""
        row, shared = self._inner.open(prompt, size, tenant)
        head = self._head
        joined = head.join(cast(list[int], np.unique(prompt).tolist()), pinned=True)
        slots = np.concatenate([np.arange(len(head.static)), np.array(joined, np.intp)])
        slots = slots[np.argsort(head.ids[slots], kind="stable")]
        return TailoredRow(row, joined, slots), shared

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """A pass over what no pass has read yet."""
        tailored = cast(list[TailoredRow], rows)
        for lead in leads if self._lossless else ():
            if len(lead) == 1:  # an answer's last token: what it is written with recurs
                self._head.join(cast(list[int], lead.tolist()), pinned=False)
        offers = [
            self._offer(row, lead, offered)
            for row, lead, offered in zip(tailored, leads, proposals, strict=True)
        ]
        read = [at for at, (lead, _) in enumerate(offers) if len(lead)]
        found = self._inner.check(
            [tailored[at].row for at in read],
            [offers[at][0] for at in read],
            [offers[at][1] for at in read],
        ) if read else []  # fmt: skip
        verdicts = dict(zip(read, cast(list[PartVerdict], found), strict=True))
        if not self._lossless:
            return [
                PartVerdict(verdicts[at].scores, verdicts[at].root, row.slots)
                for at, row in enumerate(tailored)
            ]
        nodes = [
            _nodes(row, offered, verdicts.get(at), len(offers[at][1]))
            for at, (row, offered) in enumerate(zip(tailored, proposals, strict=True))
        ]
        whole = Whole(self._vocabulary.full, nodes)
        return [WholeVerdict(whole, at) for at in range(len(nodes))]

    def rough(self, rows: Sequence[Row], leads: Sequence[Ids]) -> list[Verdict]:
        """A pass whose verdicts know the head's slots alone, and whose tokens are not kept yet."""
        tailored = cast(list[TailoredRow], rows)
        inner = [row.row for row in tailored]
        nothing = [Proposal.nothing()] * len(rows)
        found = cast(list[PartVerdict], self._inner.check(inner, leads, nothing))
        self._inner.keep(inner, [[] for _ in rows])
        for row, lead, verdict in zip(tailored, leads, found, strict=True):
            row.ahead += lead.tolist()
            row.places.append((verdict.scores, verdict.root))
        return list(found)

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Keep the leads and the nodes on `paths`; take the rest back, what was ahead too."""
        inner: list[Row] = []
        kept: list[Sequence[int]] = []
        surplus: list[tuple[Row, int]] = []
        for row, path in zip(cast(list[TailoredRow], rows), paths, strict=True):
            if row.known is None:
                inner.append(row.row)
                kept.append(path)
                continue
            beyond = 1 + len(path) - row.known  # tokens to keep that the last pass read
            if row.read:
                inner.append(row.row)
                kept.append(range(max(0, beyond - 1)))
            surplus.append((row.row, max(0, min(1, row.read) - beyond)))
            row.ahead, row.places, row.known, row.read = [], [], None, 0
        self._inner.keep(inner, kept)
        for row, count in surplus:
            self._inner.drop(row, count)

    def drop(self, row: Row, count: int) -> None:
        """Take the last `count` tokens back."""
        assert isinstance(row, TailoredRow)
        self._inner.drop(row.row, count)

    def close(self, row: Row) -> None:
        """Free the row; its prompt's ids may leave the head."""
        assert isinstance(row, TailoredRow)
        self._head.leave(row.joined)
        self._inner.close(row.row)

    def forget(self) -> None:
        """Drop the texts of closed rows."""
        self._inner.forget()

    def _offer(self, row: TailoredRow, lead: Ids, offered: Proposal) -> tuple[Ids, Proposal]:
        """What of a lead and a proposal is still to be read."""
        if not row.ahead:
            return lead, offered
        text = [*lead.tolist(), *offered.tokens.tolist()]
        usable = len(lead) == 1 and offered.is_chain
        pairs = zip(row.ahead, text, strict=False) if usable else ()
        known = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
        if known is None:
            known = min(len(row.ahead), len(text)) if usable else 0
        self._inner.drop(row.row, len(row.ahead) - known)
        del row.ahead[known:], row.places[known:]
        if not known:
            return lead, offered
        rest = text[known:]
        row.known, row.read = known, len(rest)
        return np.array(rest[:1], np.int32), Proposal.chain(rest[1:])


def _nodes(row: TailoredRow, offered: Proposal, verdict: PartVerdict | None, read: int) -> Nodes:
    """Where the row's root and nodes were scored: ahead, or in the pass of `verdict`, which read a
    lead and `read` nodes."""
    places = [*row.places]
    if verdict is not None:
        places += [(verdict.scores, verdict.root + at) for at in range(read + 1)]
    return Nodes(offered, places, row.known is not None)
