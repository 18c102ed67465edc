"""A page with everything on it, made of what the verbs write."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.bench.steps import drafting
from tascel.decode.watch import Step
from tascel.draft.base import Proposal
from tascel.draft.price import typical
from tascel.types import SOURCES

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror=alert(1)> $x^2$ & \"'"


def proposal(*sources):
    chain = Proposal.chain(range(len(sources)))
    codes = np.array([SOURCES.index(source) for source in sources], np.uint8)
    return Proposal(chain.tokens, chain.parents, chain.trust, codes)


def drafted():
    """What drafts did in forty answers of two passes."""
    offered = proposal("corpus", "corpus", "slots", "neighbours")
    answers = []
    for right in range(40):
        path = [*range(right % 5)]
        steps = [Step(0, Proposal.nothing(), [], [1]), Step(1, offered, path, [*path, 7])]
        answers.append(steps)
    return drafting(answers, typical())


def step(*pieces, branches=(), hidden=0):
    drafted = sum(len(branch["tokens"]) for branch in branches)
    accepted = sum(right for branch in branches for *_, right in branch["tokens"])
    return {
        "pieces": [[*piece] for piece in pieces],
        "drafted": drafted,
        "accepted": accepted,
        "branches": [*branches],
        "hidden": hidden,
    }


def answer(rank="best", prompt="turn on the light"):
    right = [["on", "corpus", True], [" the", "slots", True], [" lamp", "neighbours", False]]
    wrong = [[" a", "context", False]]
    return {
        "rank": rank,
        "prompt": prompt,
        "tokens": 4,
        "passes": 3,
        "steps": [
            step(["turn ", "model"]),
            step(
                ["on", "corpus"], [" the", "slots"], [" light", "model"],
                branches=[{"at": 1, "tokens": right}, {"at": 3, "tokens": wrong}], hidden=2,
            ),
            step(["⟨end⟩", "model"]),
        ],
    }  # fmt: skip


def row(name, times, **more):
    return {
        "name": name, "tokens_per_step": times, "drafted_per_step": 2.0,
        "microseconds_per_step": 50.0, "speedup_estimate": times,
        "interval": [0.9 * times, 1.1 * times], "tascel_over_this": 4 / times,
        "interval_against_tascel": [3 / times, 5 / times],
    } | more  # fmt: skip


@pytest.fixture
def replayed():
    """As `tascel replay --json` writes it."""
    rows = [row("prompt-lookup", 1.2), row("tascel", 4.0)]
    return {
        "examples": 40, "tokens": 160, "price_file": "a.json", "step_ms": 40.0,
        "price_ms": typical().curve(1, 63).tolist(), "trees": True, "drafts": rows,
        "tasks": [
            {"task": "lights", "examples": 30, "drafts": rows},
            {"task": HOSTILE[-10:], "examples": 10, "drafts": rows},
        ],
        "drafting": drafted(),
    }  # fmt: skip


@pytest.fixture
def hostile():
    return HOSTILE


@pytest.fixture
def answers():
    return [answer(), answer("middle", HOSTILE), answer("worst", "long " * 400)]
