"""benchmarks/draft_steps.py: the kernel is timed inside the call that is timed."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

from tascel.draft import ngram
from tascel.draft import trust as trusts
from tascel.draft.corpus import Corpus
from tascel.draft.knowledge import Knowledge

SCRIPT = str(Path(__file__).parents[2] / "benchmarks" / "draft_steps.py")


class Codec:
    eos_ids, vocab_size = frozenset({7}), 8


def test_every_draft_is_timed_and_so_is_its_kernel(monkeypatch):
    monkeypatch.setattr(ngram, "_grow", ngram._grow)  # put back afterwards
    script = runpy.run_path(SCRIPT)
    outputs = [np.array([1, 2, 3, 7], np.int32)] * 5
    held = [(np.array([4, 5], np.int32), outputs[0])] * 2
    task = script["Task"](Codec(), None, held, trusts.unknown(), held)
    known = Knowledge.only(Corpus.of(outputs), Codec.vocab_size)
    way = script["Ours"](task, known, script["SHAPES"]["tree of 32"], script["FREE"])
    (row,) = script["steps"]([way], [held, held], flush=False)
    assert row["who"] == "tascel"
    assert row["drafted"] > 0
    assert row["ask"]["calls"] == row["kernel"]["calls"] == 8
    assert row["kernel"]["p10"] <= row["ask"]["p90"]
