"""What llama.cpp reads is what followed in the bundle's answers."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.errors import TascelError
from tascel.plugins import lookup
from tascel.types import Trace

SEEN, SHARE = (4, 3, 2, 2), (75, 66, 66, 66)


def read(file):
    """As llama.cpp reads it: {n-gram: {id: count}}, and that nothing is there twice."""
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):
        *ngram, followed = struct.unpack_from("=5i", data, at)
        at += 20
        ids = [struct.unpack_from("=2i", data, at + 8 * i) for i in range(followed)]
        at += 8 * followed
        key = tuple(id_ for id_ in ngram if id_ != -1)
        assert ngram == [*key, *[-1] * (4 - len(key))]
        assert ids
        assert key
        assert key not in found
        assert len(dict(ids)) == followed
        found[key] = dict(ids)
    return found


def counted(outputs, lead, sizes):
    """What followed which n-gram, the plain way."""
    found = defaultdict(Counter)
    for output in outputs:
        whole = [*lead, *output]
        for at in range(len(lead), len(whole)):
            for n in sizes:
                if n <= at:
                    found[tuple(whole[at - n : at])][whole[at]] += 1
    return found


def drafted(ngrams, key, static):
    """The token that llama.cpp drafts from a dynamic cache behind `key`, None if none."""
    for n in range(min(4, len(key)), 0, -1):
        followed = ngrams.get(tuple(key[-n:]), {})
        weigh = {id_: count * 100 * static.get(id_, 0.01) for id_, count in followed.items()}
        best = max(weigh, key=weigh.__getitem__, default=None)
        total = sum(followed.values())
        if best is None or total < SEEN[n - 1]:
            continue
        if 100 * followed[best] >= SHARE[n - 1] * total:
            return best
    return None


outputs_of = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=30)


def written(tmp_path_factory, outputs, lead):
    arrays = [np.array(ids, np.int32) for ids in outputs]
    folder = tmp_path_factory.mktemp("caches")
    return lookup._write(arrays, np.array(lead, np.int32), folder)


@given(outputs=outputs_of, lead=st.lists(st.integers(0, 3), max_size=4), block=st.integers(1, 40))
def test_counts_are_those_of_the_answers(tmp_path_factory, outputs, lead, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "_BLOCK", block)
        caches = written(tmp_path_factory, outputs, lead)
    assert read(caches.static) == counted(outputs, lead, [2])
    dynamic, known = read(caches.dynamic), counted(outputs, lead, [1, 2, 3, 4])
    assert dynamic.items() <= known.items()
    assert caches.ngrams == (len(read(caches.static)), len(dynamic))
    assert caches.answers == len(outputs)


@given(outputs=outputs_of, lead=st.lists(st.integers(0, 3), max_size=4))
def test_what_is_left_out_is_never_drafted_from(tmp_path_factory, outputs, lead):
    caches = written(tmp_path_factory, outputs, lead)
    dynamic, known = read(caches.dynamic), counted(outputs, lead, [1, 2, 3, 4])
    static = read(caches.static)
    for key in known:
        beside = static.get(key[-2:], {})
        assert drafted(dynamic, key, beside) == drafted(known, key, beside)


def test_counts_fit_into_what_llama_cpp_multiplies(tmp_path_factory):
    caches = written(tmp_path_factory, [[1, 2]] * 9000 + [[1, 3]] * 1000, [7, 8])
    static = read(caches.static)
    assert static[7, 8] == {1: 4096}
    assert static[8, 1] == {2: 4096, 3: 455}
    assert read(caches.dynamic)[8, 1] == static[8, 1]
    assert max(max(v.values()) for v in static.values()) ** 2 * 100 < 2**31


@pytest.fixture
def bundle(toy_folder, tmp_path):
    def trace(prompt, output, task):
        said = {"role": "assistant", "content": output}
        return Trace([{"role": "user", "content": prompt}], said, task=task)

    traces = [trace(f"light {i}", f"the → lamp {i % 7}\n", "a/b") for i in range(30)]
    traces += [trace(f"song {i}", f"play {i % 5}", "music") for i in range(30)]
    build(iter(traces), toy_folder, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


def test_all_answers_and_those_of_each_task(bundle, tmp_path):
    out = tmp_path / "out"
    whole, lamps, songs = lookup.export(bundle, out)
    assert (whole.static, whole.dynamic) == (out / "static.bin", out / "dynamic.bin")
    assert [one.static.parent.name for one in (lamps, songs)] == ["task-000-a-b", "task-001-music"]
    assert [one.answers for one in (whole, lamps, songs)] == [60, 30, 30]
    lead = bundle.codec.generation_prompt().tolist()[-4:]
    outputs = [output.tolist() for output in bundle.corpus.outputs()]
    assert read(whole.static) == counted(outputs, lead, [2])
    assert read(songs.dynamic)[tuple(lead)] == {outputs[-1][0]: 30}  # how every song begins
    assert all(output[-1] == bundle.codec.end_id for output in outputs)


def test_a_file_is_whole_or_as_it_was(bundle, tmp_path, monkeypatch):
    out = tmp_path / "out"
    lookup.export(bundle, out)
    before = {file: file.read_bytes() for file in out.rglob("*.bin")}

    def full(part):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lookup, "_packed", full)
    with pytest.raises(TascelError, match="the disk is full"):
        lookup.export(bundle, out)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
