"""Rows under OpenVINO: each with an inference request, which keeps its own cache.

A request's cache only grows. What is taken back stays in it, masked, until the dead entries have
cost as much as copying the live ones together does: at worst twice what the better of the two would
have cost. A closed row is kept as it is: a prompt that begins like its text takes it over, and the
rest of the old text is taken back.
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
from tascel.engines.openvino.package import openvino
from tascel.types import Ids

#: Costs are counted in dead entries that a fed token looks at: about 5 µs for SmolLM2-135M on two
#: idle cores (benchmarks/cut_cost.py). Reading a token of a prompt costs so many, and an answer
#: will feed about so many tokens.
READ, AHEAD = 70, 100

_NO_ROW = np.zeros(1, np.int32)


@dataclass(slots=True, eq=False)
class OvRow:
    """One text's cache. `tokens` are its live entries in order and `alive` says of every entry
    whether it is one; `offered` lies behind them until `keep`; `idle` is what dead ones have
    cost."""

    request: Any
    size: int = 0
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

    `inputs` names what the graph asks for; `axes` the axis of a text's length by state; `copying`
    is what copying one live entry costs. Where `masks` is False, what is taken back is cut out at
    once.
    """

    def __init__(
        self,
        create: Callable[[], Any],
        inputs: set[str],
        axes: Mapping[str, int],
        tokens: int,
        copying: int,
    ) -> None:
        self._create, self._inputs, self._axes = create, inputs, axes
        self._free, self._copying = tokens, copying
        self._closed: list[OvRow] = []
        self.masks = True
        self.prefixes = False

    def fits(self, size: int) -> bool:
        """Whether the budget has so much left."""
        return size <= self._free

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """A row, and how many of `prompt` it holds already."""
        shared, row = self._alike(prompt, tenant) if self.prefixes else (0, None)
        if row is None or not self._take_over(row, shared):
            del self._closed[:1]  # requests are never more than rows were at a time
            row, shared = OvRow(self._create()), 0
        row.size, row.tenant = size, tenant
        self._free -= size
        self._make_room()
        return row, shared

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
            if row.idle > self._copying * len(row.tokens) or (rejected and not self.masks):
                self._cut(row)

    def close(self, row: Row) -> None:
        """Free the row's part of the budget; its cache is kept for prompts that begin alike."""
        row = cast(OvRow, row)
        self._free += row.size
        if row.offered:  # a pass that nobody settled
            row.alive[-len(row.offered) :] = 0
            row.offered = []
        if self.prefixes and row.tokens:
            self._closed.append(row)
            self._make_room()

    def forget(self) -> None:
        """Drop what is kept of closed rows."""
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

    def _make_room(self) -> None:
        """Drop what was closed first until the rest is within what is left of the budget."""
        while sum(len(row.alive) for row in self._closed) > self._free and self._closed:
            self._closed.pop(0)

    def _pass(self, row: OvRow, lead: Ids, proposal: Proposal) -> OvVerdict:
        """Feed `lead` (prompt or root) and the proposal; logits after the last of `lead` on."""
        before, width = len(row.tokens), len(proposal)
        fed = np.concatenate([lead, proposal.tokens]).astype(np.int64)
        row.idle += (len(row.alive) - before) * len(fed)
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

    def _take_over(self, row: OvRow, shared: int) -> bool:
        """Take back all but the first `shared` tokens of a closed row, if that costs less than
        reading them would."""
        masked = (len(row.alive) - shared) * AHEAD if self.masks else shared * READ
        if min(masked, shared * self._copying) >= shared * READ:
            return False
        self._closed.remove(row)
        row.alive[np.flatnonzero(row.alive)[shared:]] = 0
        row.tokens = row.tokens[:shared]
        if shared * self._copying < masked:
            self._cut(row)
        return True

    def _cut(self, row: OvRow) -> None:
        """Copy what is alive of the row's cache together."""
        alive = np.flatnonzero(row.alive)
        tokens, row.tokens = row.tokens, []  # until all parts agree, nobody shall take it over
        tensor = openvino().Tensor
        for state in row.request.query_state():
            kept = np.take(state.state.data, alive, self._axes[state.name])
            state.state = tensor(np.ascontiguousarray(kept))
        row.alive, row.idle, row.tokens = np.ones(len(alive), np.int64), 0, tokens
