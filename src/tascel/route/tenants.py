"""One model, several tenants: what drafts for each was learned for it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tascel.decode.answer import Routed
from tascel.decode.walk import ours
from tascel.draft.base import Attentive, Draft, Forgetful, Lasting, Proposal, Session
from tascel.draft.breaker import Breaker
from tascel.draft.group import propose_by_draft
from tascel.draft.price import Price
from tascel.types import FinishReason, Request


class TenantDraft:
    """Drafts for each request with its tenant's own draft; for one of no tenant, or of one that is
    not known, with none.

    Whether drafting pays is judged by tenant, too: one whose drafts are bad rests its own alone.
    """

    def __init__(self, drafts: Mapping[str, Draft]) -> None:
        self.drafts = dict(drafts)
        self.breakers: dict[str, Breaker] = {}

    def open(self, request: Request) -> TenantSession:
        """Start a request."""
        name = request.tenant
        draft = self.drafts.get(name) if name is not None else None
        inner = draft.open(request) if draft is not None else Silent()
        return TenantSession(self, name, draft, inner)

    def propose_many(
        self,
        sessions: Sequence[TenantSession],
        rooms: Sequence[int],
        price: Price,
        pending: int,
        rows_of_pass: int | None = None,
    ) -> list[Proposal]:
        """Draft for all rows of a batch, those of one tenant in one call, but for none that
        rests."""
        first = {session.tenant: session for session in sessions}
        allowed = {tenant: session.allowed(price) for tenant, session in first.items()}
        rows = rows_of_pass or len(sessions)
        for session in sessions:
            session.pass_of = pending, rows
        drafts = [session.draft if allowed[session.tenant] else None for session in sessions]
        inner = [session.inner for session in sessions]
        return propose_by_draft(drafts, inner, rooms, price, pending, rows)

    def forget(self) -> None:
        """What requests taught any tenant's draft is dropped."""
        self.breakers.clear()
        for draft in self.drafts.values():
            if isinstance(draft, Forgetful):
                draft.forget()

    def start(self) -> None:
        """Every draft that learns begins to."""
        for draft in self.drafts.values():
            if isinstance(draft, Lasting):
                draft.start()

    def close(self) -> None:
        """Every draft puts away what it has learned."""
        for draft in self.drafts.values():
            if isinstance(draft, Lasting):
                draft.close()


class TenantSession:
    """A request of one `tenant`, in its `draft`. `pass_of` says what the last pass carried anyway,
    and how many rows it had."""

    def __init__(
        self, tenants: TenantDraft, tenant: str | None, draft: Draft | None, inner: Session
    ) -> None:
        self._tenants, self.tenant, self.draft, self.inner = tenants, tenant, draft, inner
        self.pass_of: tuple[int, int] = 1, 1

    @property
    def task(self) -> str | None:
        """Which of the tenant's tasks it serves, None if there are not several."""
        return self.inner.task if isinstance(self.inner, Routed) else None

    def allowed(self, price: Price) -> bool:
        """Whether its tenant's drafts pay; asked once a pass."""
        if self.draft is None or self.tenant is None:
            return False
        breakers = self._tenants.breakers
        if self.tenant not in breakers:
            breakers[self.tenant] = Breaker(price)
        return breakers[self.tenant].allows()

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Draft at most `room` tokens deep, as much as pays at `price`."""
        self.pass_of = pending, 1
        if not self.allowed(price):
            return Proposal.nothing()
        return self.inner.propose(room, price, pending)

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Move on by what was really written."""
        breaker = self._tenants.breakers.get(self.tenant or "")
        if breaker is not None and len(offered) and ours(offered).all():
            breaker.record(len(offered), taken, *self.pass_of)
        self.inner.accept(tokens, offered, taken)

    def finish(self, reason: FinishReason) -> None:
        """The answer is whole."""
        if isinstance(self.inner, Attentive):
            self.inner.finish(reason)

    def close(self) -> None:
        """Forget the request."""
        self.inner.close()


class Silent:
    """A session that never drafts."""

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        """Nothing."""
        return Proposal.nothing()

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        """Nothing to learn."""

    def close(self) -> None:
        """Nothing to forget."""
