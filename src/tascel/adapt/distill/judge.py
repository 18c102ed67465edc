"""What a draft makes of answers that are known: led along them pass by pass, no model to check it.

What a pass would cost is read from the price, and so is what a neural draft spends itself: the same
answers and prices give the same numbers, whatever else runs on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tascel.adapt.distill.config import Judged
from tascel.adapt.distill.lessons import Pair
from tascel.decode.walk import follow, trim
from tascel.draft.base import Costly, Draft, Forgetful, Proposal, Session
from tascel.draft.confidence import DEPTHS, Confidence
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price
from tascel.route.policy import Tally
from tascel.types import Request

#: Tokens of a draft where drafts are compared as publications do.
FIXED = 4


@dataclass(frozen=True, slots=True)
class Fixed:
    """Chains of `FIXED` tokens, whatever they cost, as publications count: of all passes the share
    whose first drafted token was right, and of all drafted tokens those that were."""

    first: float
    accepted: float


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Counts of one draft over answers, each answer's first token left out: the prefill brings it.

    Attributes:
        tally: what decides.
        drafted: passes that offered anything, of which in `first` the first token was right.
        offered: tokens, of which `accepted` were right.
    """

    tally: Tally
    drafted: int = 0
    first: int = 0
    offered: int = 0
    accepted: int = 0

    @property
    def passes(self) -> float:
        """Of the target."""
        return float(self.tally.passes.sum())

    def judged(
        self, name: str, price: Price, kept: bool = False, fixed: Fixed | None = None
    ) -> Judged:
        """As it is reported."""
        rate = self.tally.rate(price)
        return Judged(
            name,
            tokens_per_pass=self.tally.per_pass(),
            first=self.first / max(self.drafted, 1),
            accepted=self.accepted / max(self.offered, 1),
            tokens_per_ms=rate,
            speedup=rate * price.plain(),
            chain_first=fixed.first if fixed else None,
            chain_accepted=fixed.accepted if fixed else None,
            kept=kept,
        )


def score(
    draft: Draft | None,
    pairs: Sequence[Pair],
    price: Price,
    vocab_size: int,
    trees: bool,
    heard: Callable[[], None] = lambda: None,
) -> Score:
    """Lead a draft along answers; None drafts nothing."""
    if isinstance(draft, Forgetful):
        draft.forget()
    total = Score(Tally.empty())
    for at, pair in enumerate(pairs):
        total = _along(draft, pair, str(at), price, vocab_size, trees, total)
        heard()
    return total


def _along(
    draft: Draft | None,
    pair: Pair,
    name: str,
    price: Price,
    vocab_size: int,
    trees: bool,
    total: Score,
) -> Score:
    answer: list[int] = pair.output.tolist()
    session = None
    if draft is not None:
        session = draft.open(Request(name, pair.prompt, max_tokens=len(answer) + 1))
        session.accept(answer[:1], Proposal.nothing(), 0)
    written, spent = 1, 0.0
    while written < len(answer):
        room, offered = len(answer) - written, Proposal.nothing()
        if session is not None:
            offered = trim(session.propose(room, price), room, vocab_size, trees)
        step = follow(offered, answer[written:])
        taken = sum(node >= 0 for _, node in step)
        if session is not None:
            session.accept([token for token, _ in step], offered, taken)
        before, spent = spent, _spent(session)
        total = Score(
            total.tally.and_pass(len(offered), len(step), (spent - before) / price.plain()),
            total.drafted + bool(len(offered)),
            total.first + bool(taken),
            total.offered + len(offered),
            total.accepted + taken,
        )
        written += len(step)
    if session is not None:
        session.close()
    return total


def _spent(session: Session | None) -> float:
    return session.spent if isinstance(session, Costly) else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """At each place of an answer: whether a draft that had read the answer so far would go on
    `right`, and the `probability` that it gives its guess."""

    right: list[bool]
    probability: list[float]


def hits(model: Any, pairs: Iterable[Pair], vocab_size: int) -> Iterator[Hits]:
    """One pass an answer tells of all its places."""
    import torch

    for pair in pairs:
        ids = np.concatenate([pair.prompt, pair.output])[:-1]
        with torch.inference_mode():
            read = torch.tensor(ids[None], dtype=torch.long, device=model.device)
            found = model(input_ids=read, logits_to_keep=len(pair.output), use_cache=False)
            best = found.logits[0, :, :vocab_size].float().log_softmax(-1).max(-1)
        right = best.indices.cpu().numpy() == pair.output
        yield Hits(right.tolist(), best.values.exp().tolist())


def counted(found: Iterable[Hits]) -> Confidence:
    """How often a draft was right, by its probability and the depth of its chain: a chain that was
    right so far lies on the answer."""
    known = Confidence()
    for one in found:
        for begin in range(len(one.right)):
            for depth, at in enumerate(range(begin, min(begin + DEPTHS, len(one.right)))):
                known.learn(depth, one.probability[at], one.right[at])
                if not one.right[at]:
                    break
    return known.learned()


def fixed(found: Iterable[Hits]) -> Fixed:
    """Drafts of `FIXED` tokens, as a chain that is right so far lies on the answer."""
    drafted = first = offered = accepted = 0
    for one in found:
        at = 1
        while at < len(one.right):
            chain = one.right[at : at + FIXED]
            taken = chain.index(False) if False in chain else len(chain)
            drafted, first = drafted + 1, first + (taken > 0)
            offered, accepted = offered + len(chain), accepted + taken
            at += taken + 1
    return Fixed(first / max(drafted, 1), accepted / max(offered, 1))


def fixed_ngrams(draft: NgramDraft, pairs: Sequence[Pair], vocab_size: int) -> Fixed:
    """The same of n-grams: chains of at most `FIXED` tokens, whatever they cost."""
    config = replace(draft.config, most=FIXED, trees=False, priced=False)
    chains = NgramDraft(
        draft.knowledge, draft.mixer.trust, draft.reader, draft.eos_ids.tolist(), config
    )
    made = score(chains, pairs, Price.free(), vocab_size, False)
    return Fixed(made.first / max(made.passes, 1), made.accepted / max(made.offered, 1))
