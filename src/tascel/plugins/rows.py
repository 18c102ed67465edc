"""Which row of the engine's batch is which request, told by content alone.

The engine says what stands in its rows and nothing else: rows change places, requests end without a
word, wait outside the batch and come back, share prompts, and lose tokens. So a row is the request
whose tokens are exactly those that it held before this step. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tascel.draft.base import Proposal, Session
from tascel.types import Ids

#: Requests that are in no row are kept, so many at most: they may only be waiting.
LOST = 256
#: Requests are looked up by their last ids and length; then all are compared.
_TAIL = 32

_NOTHING = Proposal.nothing()
_Key = tuple[int, bytes]
_NO_KEY: _Key = 0, b""


class Row:
    """A request: `start` tokens of prompt and its answer so far, with its drafts.

    It was `seen` last in that step, and `offered` something then; of what it was offered before,
    `checked` tokens, so many were `accepted`. Under its `key` it is looked up.
    """

    def __init__(self, prompt: Ids, session: Session) -> None:
        self.start = self.length = len(prompt)
        self.session = session
        self.seen = 0
        self.key = _NO_KEY
        self.offered = _NOTHING
        self._chain: list[int] = []  # the tokens of that
        self.checked = self.accepted = 0
        self._tokens: Ids = np.concatenate([prompt, np.empty(256, np.int32)])

    @property
    def tokens(self) -> Ids:
        """Prompt and answer: i32[length]."""
        return self._tokens[: self.length]

    def holds(self, tokens: Ids) -> bool:
        """Whether these are its tokens, of which there are as many. A few times faster than `==`
        on short arrays."""
        return self.tokens.tobytes() == tokens.tobytes()

    def offer(self, proposal: Proposal, chain: list[int]) -> None:
        """Note that of a chain the first tokens are offered, which are `chain`."""
        count = len(chain)
        self._chain = chain.copy()  # the engine cuts what it is given
        self.offered = Proposal(
            proposal.tokens[:count], proposal.parents[:count],
            proposal.trust[:count], proposal.source[:count],
        ) if count else _NOTHING  # fmt: skip

    def withdraw(self) -> None:
        """What was offered is not checked."""
        self._chain, self.offered = [], _NOTHING

    def move_on(self, written: Sequence[int], own: int = 1) -> None:
        """Add to the answer; all of `written` but the last, or its last `own`, may have been
        offered."""
        drafted = written[: len(written) - own]
        self.checked, self.accepted = len(self._chain), _agree(self._chain, drafted)
        self.session.accept(written, self.offered, self.accepted)
        self.withdraw()
        end = self.length + len(written)
        if end > len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.empty(end, np.int32)])
        self._tokens[self.length : end] = written
        self.length = end


class Rows:
    """The requests in the engine's batch, and those that were there a while ago.

    Args:
        open: starts the drafts of a request, given its prompt i32[n].
        eos_ids: no answer goes on behind one of them.
    """

    def __init__(self, open: Callable[[Ids], Session], eos_ids: Iterable[int]) -> None:
        self._open, self._eos_ids = open, np.array([*eos_ids], np.int32)
        self._known: dict[_Key, list[Row]] = {}
        self._recent: dict[Row, None] = {}  # seen last, last
        self._step = 0

    def step(
        self, sampled: Sequence[Sequence[int]], counts: NDArray[np.int32], tokens: NDArray[np.int32]
    ) -> list[Row | None]:
        """The request of each row, moved on by what was just `sampled` for it; None where nothing
        was: it still reads its prompt.

        `tokens` i32[R, n] are the rows' contents with what was sampled, filled up to `counts`
        i32[R]; there may be more rows than lists of `sampled`.
        """
        self._step += 1
        found = [
            self._move(written, tokens[at, : counts[at]]) if written else None
            for at, written in enumerate(sampled)
        ]
        rows = [row for row in found if row is not None]
        for row in rows:  # only now: what a row holds since this step, none held before it
            row.key = _key(row.tokens)
            self._known.setdefault(row.key, []).append(row)
        for row in [*self._recent][: max(0, len(self._recent) - len(rows) - LOST)]:
            self._take(row)
            row.session.close()
        return found

    def _move(self, written: Sequence[int], held: Ids) -> Row:
        before = held[: len(held) - len(written)]
        row = self._same(before) or self._kin(before)
        if row.seen != self._step - 1:  # what was offered then was not checked now
            row.withdraw()
        row.seen = self._step
        self._recent[row] = None
        row.move_on(written)
        return row

    def _same(self, before: Ids) -> Row | None:
        """The request that holds these very tokens; of twins the one seen last, in row order."""
        alike = [row for row in self._known.get(_key(before), ()) if row.holds(before)]
        if not alike:
            return None
        row = alike[0] if len(alike) == 1 else max(alike, key=lambda row: row.seen)
        self._take(row)
        return row

    def _kin(self, before: Ids) -> Row:
        """A request that is new here, or has grown since unseen, or was cut back.

        The engine does not ask for drafts while any row is near the longest length. How long the
        prompt of an answer is that was cut back, another request with the same tokens tells.
        """
        grown: Row | None = None
        start = len(before)
        for row in self._recent:
            if row.start > len(before) or before[row.start - 1] != row.tokens[row.start - 1]:
                continue
            shared = min(row.length, len(before))
            if not (row.tokens[:shared] == before[:shared]).all():
                continue
            if shared == len(before):
                start = row.start
            elif (
                row.seen == self._step - 1
                and (grown is None or row.length > grown.length)
                and not np.isin(before[row.start :], self._eos_ids).any()
            ):
                grown = row
        if grown is None:
            return self._new(before, start)
        self._take(grown)
        grown.withdraw()
        grown.move_on(before[grown.length :].tolist())
        return grown

    def _new(self, held: Ids, start: int) -> Row:
        prompt = held[:start].copy()
        row = Row(prompt, self._open(prompt))
        if start < len(held):
            row.move_on(held[start:].tolist())
        return row

    def _take(self, row: Row) -> None:
        """Forget where to find `row`."""
        alike = self._known[row.key]
        alike.remove(row)
        if not alike:
            del self._known[row.key]
        del self._recent[row]


def _key(tokens: Ids) -> _Key:
    return len(tokens), tokens[-_TAIL:].tobytes()


def _agree(drafted: Sequence[int], written: Sequence[int]) -> int:
    """How many of the first tokens are the same."""
    for at, (ours, theirs) in enumerate(zip(drafted, written, strict=False)):
        if ours != theirs:
            return at
    return min(len(drafted), len(written))
