"""Runs ahead with an engine's rough passes where nothing is drafted: what they pick is offered as a
draft, and all of it is checked at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tascel.decode.answer import Answer
from tascel.decode.engine import Engine, Rough
from tascel.decode.reach import HEAD
from tascel.draft.base import Proposal


def run_ahead(rough: Rough, engine: Engine, answers: Sequence[Answer]) -> list[Proposal]:
    """A chain for each of `answers`, which have read their prompts and are not done.

    It ends for all where one of them seems to end or has no room: that one shall not wait.
    """
    chains: list[list[int]] = [[] for _ in answers]
    rows = [answer.row for answer in answers]
    leads = [answer.lead(1) for answer in answers]
    most = min(min(answer.room(engine), answer.reach.now - 1) for answer in answers)
    going = True
    while going and len(chains[0]) < most:
        verdicts = rough(rows, leads)
        for at, (answer, verdict) in enumerate(zip(answers, verdicts, strict=True)):
            token = answer.guess(verdict, chains[at])
            if token is None:
                going = False
            else:
                chains[at].append(token)
        leads = [np.array(chain[-1:], np.int32) for chain in chains]
    return [Proposal.chain(chain, HEAD) for chain in chains]
