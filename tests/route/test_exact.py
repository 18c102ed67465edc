"""Whoever drafts, and however often that changes, answers are those of plain decoding."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

import tascel
from tascel.decode.loop import complete
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.route.draft import UNKNOWN
from tascel.types import Sampling

STRANGE = "~~~~ %%%% @@@@ ||||"


@pytest.fixture(scope="module")
def runner(two_tasks, toy_folder, tmp_path_factory):
    """A toy model in float32 with a bundle of two tasks, learned from its own answers."""
    folder = tmp_path_factory.mktemp("routed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(folder / "cache"))
        plain = tascel.load(None, model=toy_folder)
        traces = []
        for trace in two_tasks(8, labelled=True):
            text = plain.generate(trace.prompt_text, max_tokens=20).text
            traces += [replace(trace, answer={"role": "assistant", "content": text})] * 2
        tascel.build(traces, toy_folder, folder / "bundle")
        loaded = tascel.load(folder / "bundle", model=toy_folder, dtype="float32")
    # a toy's passes are too short to measure: drafts must not depend on that noise
    loaded.price = Price.from_points({1: 1.0, 33: 1.6})
    loaded.breaker = Breaker(loaded.price)
    return loaded


@pytest.fixture(scope="module")
def mixed(two_tasks):
    """Prompts of both tasks in turns, and some of none."""
    traces = [trace.prompt_text for trace in two_tasks(4)]
    return [p for pair in zip(traces[:4], traces[4:], strict=True) for p in (*pair, STRANGE)]


def test_routing_changes_no_answer(runner, mixed):
    served, drafted = Counter(), 0
    for at, prompt in enumerate(mixed):
        sampling = Sampling() if at % 2 else Sampling(temperature=0.9, seed=3)
        plain = None
        for task in (None, "lights", "songs", "nonsense"):
            request = runner.request(prompt, sampling=sampling, max_tokens=10, task=task)
            plain = plain or complete(runner.run(request, plain=True)).tokens
            answer = complete(runner.run(request))
            assert answer.tokens == plain
            served[answer.stats.task] += 1
            drafted += sum(answer.stats.accepted.values())
            if task in ("lights", "songs"):
                assert answer.stats.task == task
    assert {*served} == {"lights", "songs", UNKNOWN}
    assert drafted > 0


def test_a_batch_of_several_tasks_changes_no_answer(runner, mixed):
    wanted = [
        runner.request(prompt, sampling=sampling, max_tokens=10)
        for prompt in mixed
        for sampling in (Sampling(), Sampling(temperature=0.9, seed=3))
    ]
    alone = {r.id: complete(runner.run(r, plain=True)).tokens for r in wanted}
    done = {e.request.id: e.completion for e in runner.run_many(wanted, rows=4) if e.completion}
    assert {id_: c.tokens for id_, c in done.items()} == alone
    served = Counter(c.stats.task for c in done.values())
    assert served["lights"] == served["songs"] == served[UNKNOWN] == 8
    assert sum(sum(c.stats.accepted.values()) for c in done.values()) > 0


def test_a_policy_that_changes_its_mind_changes_no_answer(runner, mixed, monkeypatch):
    answers = []
    for choice in (0, 1):
        for lane in runner.draft.lanes:
            monkeypatch.setattr(lane.policy, "choose", lambda price, choice=choice: choice)
        answers.append([runner.generate(p, max_tokens=12).tokens for p in mixed[:5]])
    runner.forget()
    assert answers[0] == answers[1]


def test_plain_answers_name_no_task(runner, mixed):
    assert complete(runner.run(runner.request(mixed[0]), plain=True)).stats.task is None
