"""What Prometheus is told."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import tascel
from tascel.serve.metrics import MOST_TASKS, Metrics
from tascel.types import Completion, Request, Stats

CHAT = "/v1/chat/completions"


def test_an_answer_is_counted_by_task_and_source(start):
    with start() as live:
        body = {"messages": [{"role": "user", "content": "light 1 in the den"}], "max_tokens": 40}
        text = live.post(CHAT, body).json()["choices"][0]["message"]["content"]
        extras = {"prediction": {"type": "content", "content": text}, "tascel": {"stats": True}}
        answer = live.post(CHAT, body | extras | {"task": "lights", "n": 2})
        cost = [choice["tascel"] for choice in answer.json()["choices"]]
        for source in ("corpus", "context", "prediction"):
            for kind, name in (("offered", "drafted"), ("accepted", "accepted")):
                counted = live.metric(f"tascel_{name}_tokens_total", task="lights", source=source)
                assert counted == sum(c["drafted"].get(source, {}).get(kind, 0) for c in cost)
        assert live.metric("tascel_accepted_tokens_total", source="prediction") > 0
        assert live.metric("tascel_steps_total", task="lights") == sum(c["steps"] for c in cost)
        usage = answer.json()["usage"]
        written = live.metric("tascel_answer_tokens_total", task="lights")
        assert written == usage["completion_tokens"]
        read = live.metric("tascel_prompt_tokens_total", task="lights")
        assert read == 2 * usage["prompt_tokens"]
        assert live.metric("tascel_first_token_seconds_count") == 3
        assert live.metric("tascel_answer_seconds_count") == 3
        assert live.metric("tascel_answers_total", task="lights") == 2
        live.post(CHAT, {})
        assert live.metric("tascel_http_requests_total", route=CHAT, status="400") == 1
        assert live.metric("tascel_http_requests_total", route=CHAT, status="200") == 2
        assert live.metric("tascel_running") == live.metric("tascel_waiting") == 0
        assert live.metric("process_resident_memory_bytes") > 0


def test_an_answer_counts_for_the_task_it_names_or_was_taken_for():
    metrics = Metrics()
    prompt = np.array([1], np.int32)
    for named, taken_for in ((None, "songs"), (None, "unknown"), ("new", "unknown"), (None, None)):
        done = Completion("", (), (), "stop", Stats(task=taken_for))
        metrics.finished(Request("r", prompt, task=named), done, 1.0)
    families = text_string_to_metric_families(metrics.text().decode())
    answers = next(family for family in families if family.name == "tascel_answers")
    counts = {s.labels["task"]: s.value for s in answers.samples if s.name.endswith("_total")}
    assert counts == {"songs": 1, "unknown": 1, "new": 1, "": 1}


def test_a_server_counts_by_the_tasks_of_its_bundle(served_folder, two_tasks, living, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
        tascel.build(two_tasks(12, labelled=True), served_folder, tmp_path / "b")
        runner = tascel.load(tmp_path / "b", model=served_folder)
    with living(runner) as live:
        for prompt, task in (("turn the lamp", None), ("PLAY ME", "songs"), ("PLAY ME", "new")):
            body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 3}
            assert live.post(CHAT, body | {"task": task}).status_code == 200
        counts = {name: live.metric("tascel_answers_total", task=name) for name in ("songs", "new")}
        assert counts == {"songs": 1, "new": 1}
        routed = [
            live.metric("tascel_answers_total", task=name) for name in ("lights", "unknown", "")
        ]
        assert sum(routed) == 1
        assert routed[2] == 0


def test_tasks_are_counted_apart_up_to_a_number():
    metrics = Metrics()
    done = Completion("", (), (), "stop", Stats())
    for at in range(MOST_TASKS + 5):
        request = Request("r", np.array([1], np.int32), task=f"task {at}")
        metrics.finished(request, done, 1.0)
    families = text_string_to_metric_families(metrics.text().decode())
    answers = next(family for family in families if family.name == "tascel_answers")
    counts = {s.labels["task"]: s.value for s in answers.samples if s.name.endswith("_total")}
    assert len(counts) == MOST_TASKS + 1
    assert counts["other"] == 5
