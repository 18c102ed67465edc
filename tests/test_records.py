"""Past exchanges as ids, in memory and on disk."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel import records as kept
from tascel.errors import BundleError
from tascel.records import Ragged, Records

VOCAB = 100_000
ids = st.lists(st.integers(0, VOCAB - 1), max_size=5).map(lambda some: np.array(some, np.int32))
name = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=3))


@st.composite
def records(draw, most=6):
    n = draw(st.integers(0, most))

    def some(of):
        return draw(st.lists(of, min_size=n, max_size=n))

    return Records.of(
        some(ids),
        some(ids),
        some(st.floats(0, 1e10)),
        uses=some(st.floats(0, 100, width=32)),
        own=some(st.integers(0, 1)),
        tasks=some(name),
        groups=some(name),
    )


def listed(found):
    return [
        (p.tolist(), o.tolist(), t, u, w, task, group)
        for p, o, t, u, w, task, group in zip(
            found.prompts, found.outputs, found.times.tolist(), found.uses.tolist(),
            found.own.tolist(), found.tasks, found.groups, strict=True,
        )
    ]  # fmt: skip


@given(records())
def test_what_is_written_is_read(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("r") / "a.b"
    some.write(path)
    first = path.read_bytes()
    assert listed(Records.read(path, VOCAB)) == listed(some)
    some.write(path)
    assert path.read_bytes() == first


@given(st.lists(records(), max_size=4), st.data())
def test_records_are_joined_and_picked_like_lists(parts, data):
    joined = Records.join(parts)
    expected = [row for part in parts for row in listed(part)]
    assert listed(joined) == expected
    assert len(joined) == len(expected)
    at = data.draw(st.lists(st.integers(0, len(joined) - 1), max_size=8)) if expected else []
    assert listed(joined.some(at)) == [expected[i] for i in at]


def test_many_are_picked_block_by_block(monkeypatch):
    monkeypatch.setattr(kept, "_BLOCK", 3)
    chance = np.random.default_rng(0)
    parts = [chance.integers(0, VOCAB, size).astype(np.int32) for size in chance.integers(0, 5, 20)]
    for count in (0, 3, 7, 40):
        at = chance.integers(0, 20, count)
        picked = Ragged.of(parts).some(at)
        assert [part.tolist() for part in picked] == [parts[i].tolist() for i in at]


@given(st.lists(ids, max_size=6), st.slices(6))
def test_ragged_is_a_sequence(parts, some):
    ragged = Ragged.of(parts)
    assert [part.tolist() for part in ragged] == [part.tolist() for part in parts]
    assert [part.tolist() for part in ragged[some]] == [part.tolist() for part in parts[some]]
    assert ragged.lengths.tolist() == [len(part) for part in parts]
    assert not parts or ragged[-1].tolist() == parts[-1].tolist()
    with pytest.raises(IndexError):
        ragged[len(parts)]


@given(records(), records())
def test_keys_are_equal_where_prompt_and_output_are(a, b):
    both = Records.join([a, b])
    said = [(p.tobytes(), o.tobytes()) for p, o in zip(both.prompts, both.outputs, strict=True)]
    keys = both.keys().tolist()
    assert len(keys) == len(both)
    for i, one in enumerate(said):
        for j, other in enumerate(said):
            assert (keys[i] == keys[j]) == (one == other)


def test_keys_are_the_same_everywhere():
    some = Records.of([np.array([1, 2])], [np.array([3])], 0.0)
    assert some.keys().tolist() == Records.of([np.array([1, 2])], [np.array([3])], 9.0).keys()
    assert Records.of([np.array([1])], [np.array([2, 3])], 0.0).keys() != some.keys()


@given(st.data())
def test_damage_is_refused_and_never_unpickled(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("r") / "000.npz"
    Records.of([np.arange(9)] * 3, [np.arange(5)] * 3, 1.0, tasks=["a", None, "b"]).write(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with suppress(BundleError):  # anything else is a fault
        Records.read(path, VOCAB)


@pytest.mark.parametrize(
    ("spoiled", "why"),
    [
        ({"outputs": np.array([-2, 1], np.int32)}, "none of the vocabulary"),
        ({"outputs": np.array([1, 2 * VOCAB], np.int32)}, "none of the vocabulary"),
        ({"outputs": np.array([1.0, 2.0])}, "ids that are none"),
        ({"output_ends": np.array([2, 1, 2], np.int64)}, "do not ascend"),
        ({"output_ends": np.array([1], np.int64)}, "do not fit their ends"),
        ({"prompt_ends": np.array([2], np.int64)}, "prompts that do not fit"),
        ({"times": np.array([0.0, np.nan])}, "no number"),
        ({"times": np.zeros(3)}, "times that do not fit"),
        ({"uses": np.array([-1, 0], np.float32)}, "impossible"),
        ({"own": np.array([0, 2], np.uint8)}, "impossible"),
        ({"tasks": np.array([0, 7], np.int32)}, "names that are not there"),
        ({"names": np.frombuffer(b"{}", np.uint8)}, "no list"),
        ({"names": np.frombuffer(b"[1]", np.uint8)}, "no texts"),
        ({"names": np.frombuffer(b"[", np.uint8)}, "Expecting"),
        ({"names": np.zeros(2)}, "no text"),
        ({"times": np.array([object(), object()])}, "no readable records"),
    ],
)
def test_impossible_records_are_refused(tmp_path, spoiled, why):
    path = tmp_path / "000.npz"
    Records.of([np.array([1])] * 2, [np.array([1])] * 2, 1.0, tasks=["a", None]).write(path)
    with np.load(path) as found:
        arrays = dict(found)
    np.savez_compressed(path, **{**arrays, **spoiled})
    with pytest.raises(BundleError, match=why):
        Records.read(path, VOCAB)
