"""Rows under OpenVINO: each with an inference request, which keeps its own cache.

A request's cache only grows. What is taken back stays in it, masked, until the dead entries have
cost more than copying the others together does. A closed row is kept as it is: a prompt that begins
like its text takes it over, and the rest of the old text is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tascel.decode.engine import Row, Verdict, common, not_numbers
from tascel.draft.base import Proposal
from tascel.engines.openvino.graph import BEAM, IDS, MASK, PLACES, WANTED
from tascel.engines.openvino.library import library
from tascel.types import Ids

#: Copying the cache together costs about as much, for each live entry, as so many dead ones cost a
#: pass: see `docs/openvino.md`. So it is done when dead entries have cost that much: at worst twice
#: what the best choice in hindsight had.
WORTH = 8
#: Less than this of a closed row is not worth its dead entries.
LEAST_SHARED = 16

_NO_ROW = np.zeros(1, np.int32)


@dataclass(slots=True, eq=False)
class OvRow:
    """One text's cache: `tokens` are its live entries in order, `alive` says of every entry whether
    it is one; behind them, until `keep`, `offered`. `idle` counts what dead entries cost so far, in
    entries times passes."""

    request: Any
    size: int
    tenant: str | None = None
    tokens: list[int] = field(default_factory=list[int])
    alive: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    offered: list[int] = field(default_factory=list[int])
    idle: int = 0


class OvVerdict:
    """The logits f32[n, V] of a row's last pass, root first. They are the runtime's own memory: the
    row's next pass overwrites them."""

    __slots__ = ("_best", "_logits")

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self._logits = logits
        self._best: list[int] | None = None

    def argmax(self, node: int) -> int:
        """The id with the highest raw logit after `node`; the lowest id among equals.

        Raises:
            ModelError: the logits are not numbers.
        """
        if self._best is None:  # of all nodes at once
            self._best = cast("list[int]", self._logits.argmax(-1).tolist())
        best = self._best[node + 1]
        if np.isnan(self._logits[node + 1, best]):  # what argmax finds first, if there is any
            raise not_numbers()
        return best

    def logits(self, node: int) -> NDArray[np.float32]:
        """f32[V], a copy."""
        return self._logits[node + 1].copy()


class OvRows:
    """Rows of `tokens` at most together, each with a request that `create` makes.

    `inputs` names what the graph asks for; `axes` the axis of a text's length by state. Where
    `masks` is False, what is taken back is cut out at once.
    """

    def __init__(
        self, create: Callable[[], Any], inputs: set[str], axes: Mapping[str, int], tokens: int
    ) -> None:
        self._create, self._inputs, self._axes = create, inputs, axes
        self._tokens = self._free = tokens
        self._closed: list[OvRow] = []
        self._spare: list[Any] = []
        self.masks = True
        self.prefixes = False

    def fits(self, size: int) -> bool:
        """Whether the budget has so much left."""
        return size <= self._free

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """A row, and how many of `prompt` it holds already."""
        self._free -= size
        shared, closed = self._alike(prompt, tenant) if self.prefixes else (0, None)
        if closed is not None and shared >= LEAST_SHARED:
            self._closed.remove(closed)
            closed.size = size
            self._drop(closed, shared)
            return closed, shared
        return OvRow(self._request(), size, tenant), 0

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """A pass for each row."""
        return [
            self._pass(cast(OvRow, row), lead, proposal)
            for row, lead, proposal in zip(rows, leads, proposals, strict=True)
        ]

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Keep of each proposal its first nodes, as many as the path has: it was a chain."""
        for row, path in zip(cast("Sequence[OvRow]", rows), paths, strict=True):
            row.tokens += row.offered[: len(path)]
            rejected = len(row.offered) - len(path)
            row.offered = []
            if rejected:
                row.alive[-rejected:] = 0
                self._tidy(row)

    def close(self, row: Row) -> None:
        """Free the row's part of the budget; its cache is kept for prompts that begin alike."""
        row = cast(OvRow, row)
        self._free += row.size
        if row.offered:  # a pass that nobody settled
            row.alive[-len(row.offered) :] = 0
            row.offered = []
        if self.prefixes and row.tokens:
            self._closed.append(row)
        else:
            self._put_back(row)

    def forget(self) -> None:
        """Drop what is kept of closed rows."""
        for row in self._closed:
            self._put_back(row)
        self._closed = []

    def _alike(self, prompt: Ids, tenant: str | None) -> tuple[int, OvRow | None]:
        """The tenant's closed row that begins most like `prompt`, and how much is alike: less than
        all, so that something is left to read."""
        best: tuple[int, OvRow | None] = (0, None)
        for row in self._closed:
            if row.tenant == tenant:
                shared = common(prompt[:-1], np.array(row.tokens[: len(prompt)], np.int32))
                if shared > best[0]:
                    best = shared, row
        return best

    def _request(self) -> Any:
        """A request with an empty cache: a spare one, that of the row closed first, or a new
        one."""
        if not self._spare and self._closed:
            self._put_back(self._closed.pop(0))
        return self._spare.pop() if self._spare else self._create()

    def _put_back(self, row: OvRow) -> None:
        row.request.reset_state()
        self._spare.append(row.request)

    def _pass(self, row: OvRow, lead: Ids, proposal: Proposal) -> OvVerdict:
        """Feed `lead` (prompt or root) and the proposal; logits after the last of `lead` on."""
        before, width = len(row.tokens), len(proposal)
        fed = np.concatenate([lead, proposal.tokens]).astype(np.int64)
        row.idle += len(row.alive) - before
        row.alive = np.concatenate([row.alive, np.ones(len(fed), np.int64)])
        row.tokens += lead.tolist()
        row.offered = proposal.tokens.tolist()
        given = {
            IDS: fed[None],
            MASK: row.alive[None],
            PLACES: np.arange(before, before + len(fed))[None],
            BEAM: _NO_ROW,
            WANTED: np.arange(len(lead) - 1, len(fed)),
        }
        try:
            row.request.infer(
                {name: array for name, array in given.items() if name in self._inputs},
                share_inputs=True,
                share_outputs=True,
            )
        except BaseException:  # nobody knows what the cache holds now
            row.tokens, row.offered = [], []
            raise
        logits: Any = row.request.get_tensor("logits").data
        return OvVerdict(logits[0, -width - 1 :])

    def _drop(self, row: OvRow, live: int) -> None:
        """Take back all but the first `live` tokens."""
        row.alive[np.flatnonzero(row.alive)[live:]] = 0
        row.tokens = row.tokens[:live]
        self._tidy(row)

    def _tidy(self, row: OvRow) -> None:
        """Cut dead entries out if that pays."""
        live = len(row.tokens)
        if len(row.alive) > live and (not self.masks or row.idle > WORTH * live):
            alive = np.flatnonzero(row.alive)
            for state in row.request.query_state():
                self._cut(state, alive)
            row.alive, row.idle = np.ones(live, np.int64), 0

    def _cut(self, state: Any, alive: NDArray[np.intp]) -> None:
        kept = np.take(state.state.data, alive, self._axes[state.name])
        state.state = library().Tensor(np.ascontiguousarray(kept))
