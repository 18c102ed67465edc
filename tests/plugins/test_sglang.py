"""What SGLang reads is what the bundle has learned."""

from __future__ import annotations

import json

import pytest

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.new_tokens import NewTokens
from tascel.plugins.sglang import export
from tascel.types import Trace


def trace(prompt, output, **fields):
    said = {"role": "assistant", "content": output}
    return Trace([{"role": "user", "content": prompt}], said, **fields)


def documents(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def bundle(toy_folder, tmp_path):
    traces = [trace(f"light {i}", f"the → lamp {i % 7}\n", task="a/b") for i in range(30)]
    traces += [trace(f"song {i}", f"play {i % 5}", task="music") for i in range(30)]
    build(iter(traces), toy_folder, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


def test_documents_become_the_ids_that_were_learned(bundle, tmp_path):
    whole, *tasks = export(bundle, tmp_path / "out")
    codec = bundle.codec
    lead = codec.generation_prompt().tolist()
    ids = [codec.tokenizer.encode(d, add_special_tokens=False).ids for d in documents(whole.file)]
    assert ids == [lead + output.tolist() for output in bundle.corpus.outputs()]
    assert (whole.answers, whole.altered) == (60, 0)
    assert whole.tokens == sum(map(len, ids)) + 59
    assert [task.file.name for task in tasks] == ["task-000-a-b.jsonl", "task-001-music.jsonl"]
    assert {d[-16:] for d in documents(tasks[1].file)} >= {"\nplay 1<|im_end|>"[-16:]}
    assert [task.answers for task in tasks] == [30, 30]


def test_answers_that_become_other_ids_are_counted(bundle, tmp_path, monkeypatch):
    lead = bundle.codec.generation_prompt()
    letters = bundle.codec.tokenizer.encode("t", add_special_tokens=False).ids
    letters += bundle.codec.tokenizer.encode("h", add_special_tokens=False).ids  # a merge: "th"
    assert NewTokens().shorten(lead).tolist() == lead.tolist()
    monkeypatch.setattr(type(bundle.corpus), "outputs", lambda self: [lead[:0], _ids(letters)])
    whole = export(bundle, tmp_path / "out")[0]
    assert (whole.answers, whole.altered) == (2, 1)


def _ids(ids):
    import numpy as np

    return np.array(ids, np.int32)
