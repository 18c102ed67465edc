import json
import shutil

import numpy as np
import pytest

import tascel
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.errors import BundleError
from tascel.filling import put_selection
from tascel.selection import FACTS, IDS, Selection
from tascel.store.folder import check_folder, open_folder
from tascel.types import Trace


@pytest.fixture(scope="module")
def codec(toy_folder):
    return Codec.from_pretrained(toy_folder)


@pytest.fixture(scope="module")
def built(toy_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("selection") / "bundle"
    traces = [
        Trace(
            ({"role": "user", "content": f"light {i}"},),
            {"role": "assistant", "content": f'{{"on": {i % 3}}}'},
        )
        for i in range(30)
    ]
    tascel.build(traces, toy_folder, path)
    return path


@pytest.fixture
def bundle(built, tmp_path):
    return shutil.copytree(built, tmp_path / "bundle")


def selection(codec, ids=(0, 3, 4, 260), **facts):
    told = {"tolerance": 0.01, "misses": 0.002, "covered": 0.9, "traces": 30} | facts
    return Selection(np.array(ids, np.int32), codec.vocab_size, **told)


def test_a_bundle_keeps_a_selection(bundle, codec):
    before = Bundle.open(bundle, codec)
    assert before.selection is None
    wanted = selection(codec)
    put_selection(bundle, wanted, codec)
    check_folder(bundle)
    after = Bundle.open(bundle, codec)
    found = after.selection
    assert found is not None
    np.testing.assert_array_equal(found.ids, wanted.ids)
    assert found.ids.dtype == np.int32
    assert (found.vocab_size, found.tolerance, found.misses, found.covered, found.traces) == (
        codec.vocab_size, 0.01, 0.002, 0.9, 30,
    )  # fmt: skip
    was, now = before.manifest.files, after.manifest.files
    assert was == {name: entry for name, entry in now.items() if name not in (IDS, FACTS)}
    np.testing.assert_array_equal(after.corpus.text, before.corpus.text)


def test_a_new_selection_takes_the_place_of_the_former(bundle, codec):
    put_selection(bundle, selection(codec), codec)
    put_selection(bundle, selection(codec, (1, 2), tolerance=0, covered=1), codec)
    found = Bundle.open(bundle).selection
    assert found is not None
    assert found.ids.tolist() == [1, 2]
    assert found.tolerance == 0


def test_without_links_files_are_copied(bundle, codec, monkeypatch):
    def none(*_):
        raise OSError("no links here")

    monkeypatch.setattr("pathlib.Path.hardlink_to", none)
    put_selection(bundle, selection(codec), codec)
    check_folder(bundle)


def test_another_tokenizer_is_refused(bundle, codec, tokenizer):
    tokenizer = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|im_end|>"
    )
    tokenizer.add_tokens(["<extra>"])
    before = open_folder(bundle)
    with pytest.raises(BundleError, match="other ids"):
        put_selection(bundle, selection(codec), Codec.from_tokenizer(tokenizer))
    assert open_folder(bundle) == before


def test_damage_is_not_given_a_new_checksum(bundle, codec):
    file = bundle / "all" / "trust.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="checksum differs"):
        put_selection(bundle, selection(codec), codec)


@pytest.mark.parametrize(
    ("ids", "facts"),
    [
        ((), {}), ((-1, 2), {}), ((1, 10**6), {}), ((2, 1), {}), ((1, 1), {}),
        ((1, 2), {"misses": 2}),
        ((1,), {"covered": float("nan")}), ((1,), {"tolerance": -1}), ((1,), {"traces": -1}),
    ],
)  # fmt: skip
def test_impossible_selections(codec, ids, facts):
    with pytest.raises(ValueError, match=r"holds ids|has shares|impossible"):
        selection(codec, ids, **facts)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: [facts],
        lambda facts: facts | {"vocab_size": facts["vocab_size"] + 1},
        lambda facts: facts | {"traces": 1.5},
        lambda facts: facts | {"misses": "none"},
        lambda facts: facts | {"covered": True},
        lambda facts: facts | {"more": 1},
        lambda facts: {"misses": 0},
        lambda facts: facts | {"misses": float("nan")},
    ],
)
def test_a_hostile_file_is_refused(bundle, codec, change):
    put_selection(bundle, selection(codec), codec)
    file = bundle / FACTS
    replace(bundle, FACTS, json.dumps(change(json.loads(file.read_text()))).encode())
    with pytest.raises(BundleError, match=FACTS):
        Bundle.open(bundle)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(bundle, codec, content):
    put_selection(bundle, selection(codec), codec)
    replace(bundle, FACTS, content)
    with pytest.raises(BundleError, match=FACTS):
        Bundle.open(bundle)


def test_hostile_ids_are_refused(bundle, codec):
    put_selection(bundle, selection(codec), codec)
    for ids in (np.array([5, 4], np.int32), np.zeros((2, 2), np.int32), np.array([1.0])):
        np.save(bundle / IDS, ids)
        replace(bundle, IDS, (bundle / IDS).read_bytes())
        with pytest.raises(BundleError):
            Bundle.open(bundle)


def test_ids_without_facts_are_refused(bundle, codec):
    put_selection(bundle, selection(codec), codec)
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"][FACTS]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / FACTS).unlink()
    with pytest.raises(BundleError, match=FACTS):
        Bundle.open(bundle)


def replace(bundle, name, content):
    """Write a file and let the manifest agree with its size."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name]["bytes"] = len(content)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
