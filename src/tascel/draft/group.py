"""One batch whose rows have several drafts: those of one draft are asked in one call."""

from __future__ import annotations

from collections.abc import Sequence

from tascel.draft.base import BatchDraft, Draft, Proposal, Session
from tascel.draft.price import Price


def propose_by_draft(
    drafts: Sequence[Draft | None],
    sessions: Sequence[Session],
    rooms: Sequence[int],
    price: Price,
    pending: int,
    rows_of_pass: int | None = None,
) -> list[Proposal]:
    """What each row's own draft proposes; nothing for a row whose draft is None.

    The parameters are those of `BatchDraft.propose_many`, `drafts` and their `sessions` by row.
    """
    proposals = [Proposal.nothing()] * len(sessions)
    in_all = rows_of_pass or len(sessions)
    rows: dict[int, list[int]] = {}
    for row, draft in enumerate(drafts):
        if draft is not None:
            rows.setdefault(id(draft), []).append(row)
    for some in rows.values():
        draft = drafts[some[0]]
        assert draft is not None
        inner = [sessions[row] for row in some]
        room = [rooms[row] for row in some]
        found = _proposed(draft, inner, room, price, pending, in_all)
        for row, proposal in zip(some, found, strict=True):
            proposals[row] = proposal
    return proposals


def _proposed(
    draft: Draft,
    sessions: Sequence[Session],
    rooms: Sequence[int],
    price: Price,
    pending: int,
    rows_of_pass: int,
) -> list[Proposal]:
    """What one draft proposes for its rows of a pass that has others beside them."""
    if isinstance(draft, BatchDraft):
        return draft.propose_many(sessions, rooms, price, pending, rows_of_pass)
    pairs = zip(sessions, rooms, strict=True)
    return [session.propose(room, price, pending) for session, room in pairs]
