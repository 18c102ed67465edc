"""What was learned goes to disk and back; what comes from anywhere is believed only if it fits."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from tascel import learned as arrays
from tascel.draft import trust as trusts
from tascel.draft.corpus import Corpus
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import NgramDraft
from tascel.draft.price import Price
from tascel.draft.reader import Reader
from tascel.errors import BundleError
from tascel.learned import Learned, read_learned, write_learned
from tascel.types import Request


def parts(whole: Any) -> list[np.ndarray]:
    """All arrays of a dataclass of arrays and such dataclasses."""
    if not is_dataclass(whole):
        return [whole]
    return [part for field in fields(whole) for part in parts(getattr(whole, field.name))]


@pytest.fixture(scope="module")
def reader(tokenizer) -> Reader:
    return Reader(tokenizer.backend_tokenizer)


@pytest.fixture(scope="module")
def knowledge(tokenizer, reader) -> Knowledge:
    rooms = ("den", "hall", "attic", "kitchen")
    prompts = [ids(tokenizer, f"light {i} in the {rooms[i % 4]}") for i in range(24)]
    outputs = [ids(tokenizer, f'{{"{rooms[i % 4]}": {i}}}<|im_end|>') for i in range(24)]
    words, about = [reader.words(p) for p in prompts], [reader.about(p) for p in prompts]
    return Knowledge.of(outputs, words, about, len(tokenizer))


def ids(tokenizer, text: str) -> np.ndarray:
    return np.array(tokenizer.encode(text), np.int32)


@pytest.fixture
def folder(tmp_path, knowledge):
    write_learned(tmp_path / "all", Learned(knowledge, trusts.unknown()))
    return tmp_path / "all"


def test_knowledge_comes_back_and_drafts_the_same(folder, knowledge, reader, tokenizer):
    back = read_learned(folder, len(tokenizer))
    assert len(parts(back.knowledge)) == len([*folder.iterdir()]) - 1
    for one, other in zip(parts(knowledge), parts(back.knowledge), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    asked = Request("r", ids(tokenizer, "light 99 in the attic"))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    drafts = [
        NgramDraft(known, back.trust, reader, {end}).open(asked).propose(32, Price.free())
        for known in (knowledge, back.knowledge)
    ]
    assert drafts[0].tokens.tolist() == drafts[1].tokens.tolist()
    assert drafts[0].trust.tolist() == drafts[1].trust.tolist()
    assert len(drafts[0])


@pytest.mark.parametrize(
    "nothing", [Knowledge.of([], [], [], 9), Knowledge.only(Corpus.of([]), 9)]
)  # fmt: skip
def test_nothing_learned_comes_back_too(tmp_path, nothing):
    write_learned(tmp_path / "all", Learned(nothing, trusts.unknown()))
    back = read_learned(tmp_path / "all", 9).knowledge
    for one, other in zip(parts(nothing), parts(back), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["array", "templates-array", "frozen", "pointer"])
def test_arrays_that_do_not_fit_each_other_are_refused(folder, tokenizer, name):
    array = np.load(folder / f"{name}.npy")
    np.save(folder / f"{name}.npy", array[:-1])
    with pytest.raises(BundleError, match=r"do not fit|another vocabulary"):
        read_learned(folder, len(tokenizer))


def test_every_array_has_one_dimension_and_its_own_type(folder, tokenizer):
    for file in sorted(folder.glob("*.npy")):
        array = np.load(file)
        for wrong in (array[None], array.astype(np.float64), np.array(7)):
            np.save(file, wrong)
            with pytest.raises(BundleError, match=file.stem):
                read_learned(folder, len(tokenizer))
        file.unlink()
        with pytest.raises(BundleError, match=file.stem):
            read_learned(folder, len(tokenizer))
        np.save(file, array)
    read_learned(folder, len(tokenizer))


def test_positions_beyond_i32_are_refused(tmp_path, monkeypatch):
    endless = np.broadcast_to(np.int32(0), 2**31)  # a file of zeros takes no room on the disk
    monkeypatch.setattr(arrays, "map_array", lambda path, dtype: endless)
    with pytest.raises(BundleError, match="impossible shape"):
        read_learned(tmp_path, 9)


def test_trust_comes_back(tmp_path):
    path = tmp_path / "trust.npy"
    np.save(path, trusts.unknown())
    assert np.array_equal(arrays._read_trust(path), trusts.unknown())
    np.save(path, np.asfortranarray(trusts.unknown()))  # kernels are compiled for rows in order
    assert arrays._read_trust(path).flags.c_contiguous


@pytest.mark.parametrize(
    "trust",
    [
        trusts.unknown().astype(np.float64),
        trusts.unknown()[:1],
        trusts.unknown()[None],
        np.where(np.arange(trusts.unknown().size) == 7, np.nan, 0).astype(np.float32),
        np.full_like(trusts.unknown(), np.inf),
        np.array([object()]),
    ],
)
def test_what_cannot_be_trust_is_refused(tmp_path, trust):
    path = tmp_path / "trust.npy"
    np.save(path, trust)
    with pytest.raises(BundleError, match=r"trust\.npy: (holds|is no readable array)"):
        arrays._read_trust(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x93NUMPY\x01\x00"])
def test_damage_is_refused(tmp_path, content):
    path = tmp_path / "trust.npy"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"trust\.npy: is no readable array"):
        arrays._read_trust(path)
