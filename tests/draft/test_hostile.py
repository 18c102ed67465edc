"""A bundle is untrusted input: whatever its arrays hold, no kernel reads outside of them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tascel.draft import trust as trusts
from tascel.draft.corpus import Corpus
from tascel.draft.kernels.evidence import CELLS
from tascel.draft.knowledge import Knowledge
from tascel.draft.neighbours import Neighbours
from tascel.draft.ngram import RULES, DraftConfig, NgramDraft
from tascel.draft.price import Price
from tascel.types import Request

VOCABULARY, EOS = 8, 7


def ids(rng: np.random.Generator, most: int) -> NDArray[np.int32]:
    return rng.integers(0, VOCABULARY - 1, rng.integers(1, most)).astype(np.int32)


def spoiled(rng: np.random.Generator, array: NDArray[Any]) -> NDArray[Any]:
    """As it is, or with anything, or with what could be ids and positions."""
    kind, size = rng.integers(4), len(array)
    if kind == 0:
        return array
    if array.dtype.kind == "f":
        wild = rng.normal(0.0, 10.0, size) ** 9
        wild[rng.random(size) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 0.0])
        return wild.astype(array.dtype)
    limits = np.iinfo(array.dtype)
    if kind == 1:
        return rng.integers(limits.min, limits.max, size, array.dtype, endpoint=True)
    low, high = max(limits.min, -3), min(limits.max, size + 3)
    wild = rng.integers(low, high, size, array.dtype, endpoint=True)
    return np.where(rng.random(size) < 0.5, wild, array) if kind == 2 else wild


def spoiled_all(rng: np.random.Generator, whole: Any) -> Any:
    """A dataclass of arrays, and of dataclasses of arrays, each array spoiled."""
    parts = {field.name: getattr(whole, field.name) for field in fields(whole)}
    new = {
        name: spoiled(rng, part) if isinstance(part, np.ndarray) else spoiled_all(rng, part)
        for name, part in parts.items()
    }
    return replace(whole, **new)


def learned(rng: np.random.Generator, reader: Any) -> Knowledge:
    prompts = [ids(rng, 20) for _ in range(rng.integers(0, 12))]
    return Knowledge.of(
        [np.append(ids(rng, 9), EOS).astype(np.int32) for _ in prompts],
        [reader.words(prompt) for prompt in prompts],
        [reader.about(prompt) for prompt in prompts],
        VOCABULARY,
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([*RULES, "calibrated", "calibrated"]))
@settings(max_examples=300)
def test_spoiled_arrays_never_crash(toy_reader: Any, seed: int, rule: Any) -> None:
    rng = np.random.default_rng(seed)
    reader = toy_reader(seed)
    knowledge = spoiled_all(rng, learned(rng, reader))
    size = rng.choice([0.0, 1.0, 3e38])
    trust = trusts.unknown() + (rng.uniform(-1, 1, (2, CELLS)) * size).astype(np.float32)
    config = DraftConfig(rule, order=2, least=0, trees=bool(rng.integers(2)))
    draft = NgramDraft(knowledge, trust, reader, {EOS}, config)
    session = draft.open(Request("r", ids(rng, 30)))
    for _ in range(5):
        proposal = session.propose(8, Price.free())
        assert ((proposal.tokens >= 0) & (proposal.tokens < VOCABULARY)).all()
        assert (proposal.parents < np.arange(len(proposal))).all()
        session.accept(proposal.tokens[:2].tolist() or [1], proposal, 1)
    session.accept([VOCABULARY, -1, 2**31 - 1, -(2**31), 1], proposal, 0)
    session.propose(8, Price.free())


@given(st.integers(0, 2**32 - 1))
def test_spoiled_neighbours_never_crash(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets = [np.unique(ids(rng, 30)).astype(np.uint32) for _ in range(rng.integers(0, 12))]
    neighbours = spoiled_all(rng, Neighbours.of(sets))
    traces, similarity = neighbours.find(np.arange(VOCABULARY, dtype=np.uint32), 5)
    assert ((similarity > 0) & (similarity <= 1)).all()
    assert (traces >= 0).all()


def test_no_kernel_reads_outside_of_an_array(pytestconfig: pytest.Config) -> None:
    """The same again, compiled with checks. What was so compiled has a folder of its own: numba
    keeps both kinds under one name."""
    folder = pytestconfig.cache.mkdir("checked-kernels")
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "spoiled"]
    done = subprocess.run([*command, __file__], env=checked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_a_read_outside_of_an_array_would_be_noticed(pytestconfig: pytest.Config) -> None:
    code = (
        "import numpy as np; from tascel.compiled import kernel\n"
        "def last(a): return a[len(a)]\n"
        "kernel(last)(np.zeros(3))"
    )
    folder = pytestconfig.cache.mkdir("checked-kernels")
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=checked, capture_output=True, text=True)
    assert "IndexError" in done.stderr


def test_corpora_of_nothing(toy_reader: Any) -> None:
    knowledge = Knowledge.of([], [], [], VOCABULARY)
    assert len(knowledge.corpus) == len(knowledge.templates) == len(knowledge.places) == 0
    reader = toy_reader(0)
    draft = NgramDraft(knowledge, trusts.unknown(), reader, {EOS})
    session = draft.open(Request("r", np.array([], np.int32)))
    assert len(session.propose(8, Price.free())) == 0
    assert len(Corpus.of([])) == 0
