"""A bundle folder: whole or not there, every damage noticed, nothing that existed lost."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.errors import BundleError
from tascel.store import replace as store
from tascel.store.folder import check_folder, map_array, open_folder
from tascel.store.manifest import VERSION, Manifest, public_command
from tascel.store.replace import write_folder

ABOUT = Manifest(
    model="org/model",
    weights=None,
    tokenizer="f00d",
    vocab_size=9,
    eos_ids=(8,),
    counts={"traces": 3},
    command=("tascel", "build", "traces.jsonl"),
    segments=("0-a",),
)


def filler(ids=(1, 2, 3), about=ABOUT):
    def fill(folder: Path) -> Manifest:
        (folder / "0-a").mkdir()
        np.save(folder / "0-a" / "ids.npy", np.asarray(ids, np.int32))
        (folder / "SUMMARY.md").write_text("three words here")
        return about

    return fill


def edit(path: Path, **changes) -> None:
    fields = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(fields | changes))


def beside(parent: Path) -> list[str]:
    """What is there; a lock that nobody holds counts for nothing."""
    return sorted(set(os.listdir(parent)) - {".b.lock"})


def refused(call, *args, match=None) -> BundleError:
    with pytest.raises(BundleError, match=match) as caught:
        call(*args)
    assert caught.value.remedy
    return caught.value


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "bundle"
    written = write_folder(path, filler())
    assert open_folder(path) == check_folder(str(path)) == written
    assert replace(written, files={}, created=ABOUT.created) == ABOUT
    assert list(written.files) == ["0-a/ids.npy", "SUMMARY.md"]
    assert written.files["SUMMARY.md"].bytes == 16
    ids = map_array(path / "0-a" / "ids.npy", np.int32)
    assert type(ids) is np.ndarray
    assert ids.tolist() == [1, 2, 3]
    assert not ids.flags.writeable
    assert os.listdir(path.parent) == ["bundle"]


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=5),
    counts=st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 2**70)),
    eos=st.sets(st.integers(0, 2**31 - 1), min_size=1),
)
def test_any_manifest_round_trips(tmp_path_factory, texts, counts, eos):
    path = tmp_path_factory.mktemp("any") / "b"
    about = Manifest(
        texts[0], texts[1], texts[0], 1 + max(eos), tuple(eos), counts, tuple(texts), tuple(texts)
    )
    assert write_folder(path, lambda _: about) == open_folder(path) == about


def test_a_bundle_is_replaced(tmp_path):
    path = tmp_path / "b"
    write_folder(path, filler([1]))
    ids = map_array(path / "0-a" / "ids.npy", np.int32)
    write_folder(path, filler([2, 2]))
    assert ids.tolist() == [1]  # who has it open keeps it
    assert map_array(path / "0-a" / "ids.npy", np.int32).tolist() == [2, 2]
    link = tmp_path / "link"
    link.symlink_to(path)
    write_folder(link, filler([3]))
    assert link.is_symlink()
    assert map_array(path / "0-a" / "ids.npy", np.int32).tolist() == [3]
    assert beside(tmp_path) == ["b", "link"]


def test_replacing_without_exchange(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_exchange", lambda a, b: False)
    path = tmp_path / "b"
    first = write_folder(path, filler([1]))
    real = Path.rename

    def broken(self, target):
        if self.name == ".b.writing":
            raise OSError(errno.EIO, "broken", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    refused(write_folder, path, filler([2]), match=r"cannot be written \(broken\)")
    assert check_folder(path) == first
    monkeypatch.setattr(Path, "rename", real)
    second = write_folder(path, filler([2]))
    assert check_folder(path) == second
    assert beside(tmp_path) == ["b"]
    path.rename(tmp_path / ".b.former")  # killed between the two renames
    assert refused(open_folder, path).remedy == f"Rename {tmp_path / '.b.former'} to it"


def test_nothing_else_is_replaced(tmp_path):
    path = tmp_path / "b"
    path.mkdir()
    (path / "thesis.txt").write_text("x")
    refused(write_folder, path, filler(), match="is not empty and no bundle")
    refused(write_folder, path / "thesis.txt", filler(), match="is a file")
    refused(write_folder, path / "thesis.txt" / "b", filler(), match="cannot be written")
    assert (path / "thesis.txt").read_text() == "x"
    (path / "thesis.txt").unlink()
    write_folder(path, filler())  # an empty folder is as good as none
    (path / "notes.txt").write_text("x")
    refused(write_folder, path, filler(), match=r"holds notes\.txt")
    (path / "notes.txt").unlink()
    edit(path, version=VERSION + 1)
    refused(write_folder, path, filler(), match=f"version {VERSION + 1}")


def test_an_older_bundle_is_not_damaged_and_may_be_replaced(tmp_path):
    path = tmp_path / "b"
    write_folder(path, filler())
    fields = json.loads((path / "manifest.json").read_text())
    del fields["vocab_size"], fields["eos_ids"]  # version 1 had none
    (path / "manifest.json").write_text(json.dumps(fields | {"version": 1}))
    assert "Build it again" in refused(open_folder, path, match="was built by tascel").remedy
    write_folder(path, filler())
    open_folder(path)


def test_strangers_that_appear_meanwhile_are_kept(tmp_path):
    path = tmp_path / "b"

    def fill(folder):
        path.mkdir()
        (path / "thesis.txt").write_text("x")
        return ABOUT

    refused(write_folder, path, fill, match="is not empty")
    assert os.listdir(path) == ["thesis.txt"]


@pytest.mark.parametrize(
    ("error", "seen", "match"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), BundleError, "the disk is full"),
        (OSError("100 requested and 20 written"), BundleError, "the disk is full"),
        (OSError(errno.ENOENT, "gone", "/elsewhere"), OSError, "elsewhere"),
        (ConnectionError("offline"), ConnectionError, "offline"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failed_fill_changes_nothing(tmp_path, error, seen, match):
    def fill(folder: Path) -> Manifest:
        (folder / "half").write_text("x")
        raise error

    path = tmp_path / "b"
    with pytest.raises(seen, match=match):
        write_folder(path, fill)
    assert os.listdir(tmp_path) == []
    first = write_folder(path, filler())
    with pytest.raises(seen, match=match):
        write_folder(path, fill)
    assert check_folder(path) == first
    assert beside(tmp_path) == ["b"]


WRITER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_folder import ABOUT, filler, write_folder
def fill(folder):
    (folder / "half").write_bytes(b"x" * 1000)
    print("filling", flush=True)
    time.sleep(float(sys.argv[3]))
    (folder / "half").unlink()
    return filler(range(200_000))(folder)
while True:
    write_folder(sys.argv[1], fill)
"""


def writer(path, seconds) -> subprocess.Popen:
    args = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent), str(seconds)]
    return subprocess.Popen(args, stdout=subprocess.PIPE, text=True)


def kill(process) -> None:
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()


def test_a_killed_writer_leaves_the_former_bundle(tmp_path):
    path = tmp_path / "b"
    first = write_folder(path, filler())
    process = writer(path, 60)
    assert process.stdout.readline() == "filling\n"
    refused(write_folder, path, filler(), match="another process is writing this bundle")
    kill(process)
    assert check_folder(path) == first
    assert (tmp_path / ".b.writing" / "half").exists()
    second = write_folder(path, filler([7]))
    assert check_folder(path) == second
    assert beside(tmp_path) == ["b"]


def test_killed_at_any_moment(tmp_path):
    path = tmp_path / "b"
    write_folder(path, filler())
    for i in range(6):
        process = writer(path, 0)
        assert process.stdout.readline() == "filling\n"
        time.sleep(0.003 * i)
        kill(process)
        check_folder(path)
    write_folder(path, filler())
    assert beside(tmp_path) == ["b"]


def test_a_reader_never_sees_half(tmp_path):
    path = tmp_path / "b"
    write_folder(path, filler())
    process = writer(path, 0)
    for _ in range(20):
        process.stdout.readline()
        Manifest.read(path)
    kill(process)


def test_without_folder_locks(tmp_path, monkeypatch):
    def flock(handle, how):
        raise OSError(errno.EBADF, "no locks on this file system")

    monkeypatch.setattr(fcntl, "flock", flock)
    for ids in ([1], [2]):
        write_folder(tmp_path / "b", filler(ids))
    assert map_array(tmp_path / "b" / "0-a" / "ids.npy", np.int32).tolist() == [2]


def test_not_a_bundle(tmp_path):
    assert "tascel build" in refused(open_folder, tmp_path / "b", match="no such bundle").remedy
    refused(open_folder, tmp_path, match=r"has no manifest\.json")
    (tmp_path / "file").write_text("")
    refused(open_folder, tmp_path / "file", match=r"has no manifest\.json")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "zip"}, "is no tascel-bundle manifest"),
        ({"version": VERSION + 1, "unheard": 1}, f"is version {VERSION + 1}, this tascel reads"),
        ({"version": "1"}, "impossible version '1'"),
        ({"version": True}, "impossible version True"),
        ({"version": 0}, "impossible version 0"),
        ({"unheard": 1}, "unknown key 'unheard'"),
        ({"model": None}, "'model' that is not a str"),
        ({"weights": 1}, "'weights' that is not a str"),
        ({"vocab_size": 0}, "impossible 'vocab_size' 0"),
        ({"vocab_size": True}, "impossible 'vocab_size' True"),
        ({"vocab_size": 9.0}, r"impossible 'vocab_size' 9\.0"),
        ({"vocab_size": 2**31 + 1}, "impossible 'vocab_size'"),
        ({"vocab_size": 8}, "'eos_ids' that are not"),
        ({"eos_ids": []}, "'eos_ids' that are not"),
        ({"eos_ids": 8}, "'eos_ids' that are not"),
        ({"eos_ids": [8, -1]}, "'eos_ids' that are not"),
        ({"eos_ids": [True]}, "'eos_ids' that are not"),
        ({"counts": {"x": -1}}, "counts -1"),
        ({"counts": {"x": 1.0}}, r"counts 1\.0"),
        ({"counts": []}, "'counts' that is not a dict"),
        ({"segments": [1]}, "'segments' that is not a list of texts"),
        ({"command": "x"}, "'command' that is not a list"),
        ({"settings": []}, "'settings' that are not settings"),
        ({"settings": {"colour": 1}}, "'settings' that are not settings"),
        ({"settings": {"text": 1}}, "'text' that is not a bool"),
        ({"settings": {"tasks": "two"}}, "impossible settings"),
        ({"settings": {"seed": -1}}, "counts -1"),
        ({"settings": {"thinned": 64}}, "impossible settings"),
        ({"files": {"a": 1}}, "'a' without its size and checksum"),
        ({"files": {"a": {"bytes": 1, "sha256": 1}}}, "'sha256' that is not a str"),
        ({"files": {"a": {"bytes": 0, "sha256": ""}}}, "a is missing"),
        ({"files": {"0-a": {"bytes": 0, "sha256": ""}}}, "0-a has"),
        ({"files": {"x" * 300: {"bytes": 0, "sha256": ""}}}, "is missing"),
        ({"created": "\ud800"}, "is not JSON"),
    ],
)
def test_wrong_manifests(tmp_path, changes, match):
    path = tmp_path / "b"
    write_folder(path, filler())
    edit(path, **changes)
    refused(open_folder, path, match=match)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../b", "a/../../b", "a\\b", "C:b", "./a", "a//b", ".", "", "a\x00"]
)
def test_files_stay_inside(tmp_path, name):
    path = tmp_path / "b"
    write_folder(path, filler())
    edit(path, files={name: {"bytes": 0, "sha256": ""}})
    refused(open_folder, path, match="forbidden file name")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b"null"])
def test_damaged_manifests(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    refused(open_folder, tmp_path, match="is not")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_truncation_and_flips_are_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "b"
    manifest = write_folder(path, filler())
    file = path / data.draw(st.sampled_from(["manifest.json", *manifest.files]))
    whole = file.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 2))
    file.write_bytes(whole[:cut])
    refused(open_folder, path)
    flipped = bytearray(whole)
    flipped[cut] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(flipped)
    if file.name == "manifest.json":  # a flipped letter in a text is no structural damage
        with suppress(BundleError):
            check_folder(path)
    else:
        open_folder(path)
        refused(check_folder, path, match="checksum differs")
    file.unlink()
    refused(open_folder, path)
    shutil.rmtree(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_crash_map_array(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.npy"
    np.save(path, np.arange(20, dtype=np.int32))
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        array = map_array(path, np.int32)
    except BundleError:
        return
    assert array.dtype == np.int32
    array.sum()


def test_arrays_of_another_kind(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(3))
    refused(map_array, path, np.int32, match="holds int64 where int32 belongs")
    np.save(path, np.array([{}]), allow_pickle=True)
    refused(map_array, path, np.int32, match="is no readable array")
    np.savez(tmp_path / "z", np.arange(3))
    refused(map_array, tmp_path / "z.npz", np.int32, match="is no readable array")
    refused(map_array, tmp_path, np.int32, match="is no readable array")
    for shape in ((0,), (0, 5)):
        np.save(path, np.zeros(shape, np.int32))
        assert map_array(path, np.int32).shape == shape


def test_public_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    args = ["/home/me/.venv/bin/tascel", "build", "~/secret/t.jsonl", "--model", "org/Model-1.5",
            "-o", "out/bundle", "--adapter=/home/me/lora/", "C:\\me\\x", "../y", "--own-outputs",
            "100", "--model=org/m"]  # fmt: skip
    assert public_command(args) == (
        "tascel", "build", "t.jsonl", "--model", "org/Model-1.5", "-o", "bundle",
        "--adapter=lora", "x", "y", "--own-outputs", "100", "--model=org/m",
    )  # fmt: skip
