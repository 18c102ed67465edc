"""What a watch hears adds up to the answers, whoever drafts and however many share a pass."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.decode.forced import Entrant, Example, Rules, follow
from tascel.decode.loop import Loop, complete, decode
from tascel.decode.schedule import Scheduler
from tascel.draft.price import Price, typical
from tascel.types import SOURCES, Request

PROMPT = np.array([5, 6, 7], np.int32)


class Heard:
    def __init__(self):
        self.steps = {}

    def __call__(self, request, step):
        self.steps.setdefault(request.id, []).append(step)

    def check(self, id_, tokens, sources=None):
        """The steps write `tokens` one behind the other, the accepted ones as they were offered."""
        at, named = 0, []
        for step in self.steps[id_]:
            assert step.written == at
            assert list(step.tokens) == list(tokens[at : at + len(step.tokens)])
            taken = step.offered.tokens[step.path].tolist()
            assert taken == list(step.tokens)[: len(taken)]
            assert len(step.tokens) - len(taken) in (0, 1)
            named += [SOURCES[int(code)] for code in step.offered.source[step.path]]
            named += ["model"] * (len(step.tokens) - len(taken))
            at += len(step.tokens)
        assert at == len(tokens)
        assert sources is None or named == list(sources)


def answer(engine, request):
    done = complete(decode(engine, None, request, typical(), Quiet()))
    return list(done.tokens)


class Quiet:
    def push(self, token):
        return ""

    def flush(self):
        return ""


@pytest.mark.parametrize("predicted", [False, True])
def test_every_token_of_an_answer_is_heard_with_its_source(fake_engine, oracle_draft, predicted):
    truth = answer(fake_engine(), Request("0", PROMPT, max_tokens=40))
    expected = np.array(truth[:20], np.int32) if predicted else None
    heard = Heard()
    request = Request("0", PROMPT, max_tokens=40, prediction=expected)
    draft = oracle_draft(truth, seed=3)
    done = complete(decode(fake_engine(), draft, request, typical(), Quiet(), watch=heard))
    assert list(done.tokens) == truth
    heard.check("0", truth, done.sources)
    assert ("prediction" in done.sources) == predicted


def test_rows_of_a_batch_are_told_apart(fake_engine):
    requests = [Request(str(i), np.array([i + 1, 6], np.int32), max_tokens=9) for i in range(5)]
    heard = Heard()
    engine = fake_engine()
    scheduler = Scheduler(Loop(engine, None, Price.free(), watch=heard), Quiet, rows=3, piece=1)
    for request in requests:
        scheduler.add(request)
    done = {}
    while scheduler.waiting or scheduler.running:
        for event in scheduler.step():
            if event.completion is not None:
                done[event.request.id] = event.completion
    assert set(heard.steps) == set(done) == {"0", "1", "2", "3", "4"}
    for id_, completion in done.items():
        heard.check(id_, completion.tokens, completion.sources)


def test_walks_along_known_answers_are_heard_but_the_one_that_warms_up(oracle_draft):
    truths = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8]]
    heard = Heard()
    for at, truth in enumerate(truths):
        entrants = {"x": Entrant(oracle_draft(truth, seed=at), watch=heard)}
        (cost,) = follow(entrants, [Example(PROMPT, np.array(truth))], Rules(typical(), 40))["x"]
        heard.check("0", truth)
        assert sum(len(step.offered) for step in heard.steps["0"]) == cost.offered
        assert len(heard.steps["0"]) == cost.steps + 1
        heard.steps.clear()
