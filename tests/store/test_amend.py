"""A bundle in use: files come and go, it is whole at every moment, nothing others add is lost."""

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from tascel.errors import BundleError
from tascel.store import amend as amending
from tascel.store import folder as store
from tascel.store import replace as replacing
from tascel.store.amend import Change, amend, new_name
from tascel.store.folder import check_folder, open_folder, read_folder
from tascel.store.manifest import Manifest, is_leftover
from tascel.store.replace import write_folder

ABOUT = Manifest("org/model", None, "f00d", 9, (8,), {"traces": 3}, ("tascel", "build"), ("0-a",))


def filler(words="a page"):
    def fill(folder: Path) -> Manifest:
        (folder / "SUMMARY.md").write_text(words)
        return ABOUT

    return fill


def refused(call, *args, match=None) -> None:
    with pytest.raises(BundleError, match=match) as caught:
        call(*args)
    assert caught.value.remedy


@pytest.fixture
def path(tmp_path) -> Path:
    write_folder(tmp_path / "b", filler())
    return tmp_path / "b"


def text(words):
    return lambda file: file.write_text(words)


def add(path, *words) -> list[str]:
    names = [new_name() for _ in words]
    amend(path, lambda _: Change(dict(zip(names, map(text, words), strict=True))))
    return names


def sweep(path) -> None:
    """Changes nothing, and removes what no manifest lists."""
    amend(path, lambda _: Change())


def learned(path) -> dict[str, str]:
    return {name: (path / name).read_text() for name in check_folder(path).learned}


def test_files_come_and_go(path):
    first = open_folder(path)
    one, two = add(path, "one", "two")
    assert learned(path) == {one: "one", two: "two"}
    both = new_name()
    seen = []

    def merged(manifest):
        seen.append(manifest)
        return Change({both: text("one two")}, [one, two])

    after = amend(path, merged)
    assert set(seen[0].learned) == {one, two}
    assert after == check_folder(path)
    assert after.base == first.base == first.files
    assert learned(path) == {both: "one two"}
    assert os.listdir(path / "learned") == [both.removeprefix("learned/")]
    assert amend(path, lambda _: Change({}, [both])) == first
    assert is_leftover(both)
    assert not is_leftover("learned/notes.txt")


def test_what_is_not_listed_cannot_be_dropped(path):
    for name in ("SUMMARY.md", new_name()):
        refused(amend, path, lambda _, name=name: Change({new_name(): text("x")}, [name]))
    assert learned(path) == {}


def test_leftovers_are_ours_and_go(path):
    (kept,) = add(path, "kept")
    (path / new_name()).write_text("half")
    (path / "manifest.json.partial").write_text("{")
    check_folder(path)
    write_folder(path, filler(), carry=lambda name: True)  # no stranger is found in it
    (path / new_name()).write_text("half")
    (path / "manifest.json.partial").write_text("{")
    sweep(path)
    assert learned(path) == {kept: "kept"}
    assert sorted(os.listdir(path)) == ["SUMMARY.md", "learned", "manifest.json"]
    assert len(os.listdir(path / "learned")) == 1
    (path / "learned" / "notes.txt").write_text("x")
    sweep(path)
    refused(write_folder, path, filler(), match=r"holds notes\.txt")


def test_only_bundles_of_today(path, tmp_path):
    refused(sweep, tmp_path / "none", match="no such bundle")
    refused(sweep, tmp_path, match=r"has no manifest\.json")
    assert not (tmp_path.parent / f".{tmp_path.name}.lock").exists()
    fields = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(fields | {"version": 3}))
    refused(sweep, path, match="was built by tascel")


def test_a_replacement_carries_over_what_it_is_told(path):
    old, new = add(path, "old", "new")

    def fill(folder):
        # While it is filled, others go on learning.
        late.append(add(path, "late")[0])
        return filler("another")(folder)

    late = []
    written = write_folder(path, fill, carry=lambda name: name != old)
    assert learned(path) == {new: "new", late[0]: "late"}
    assert written == open_folder(path)
    write_folder(path, filler())
    assert learned(path) == {}
    assert sorted(os.listdir(path.parent)) == [".b.lock", "b"]


def test_nobody_adds_to_a_bundle_that_is_just_replaced(path, monkeypatch):
    refusals, real = [], replacing._put

    def put(*args):
        thread = threading.Thread(target=add_late)
        thread.start()
        thread.join()
        real(*args)

    def add_late():
        try:
            amend(path, lambda _: Change({new_name(): text("late")}), wait=0)
        except BundleError as reason:
            refusals.append(reason.what)

    monkeypatch.setattr(replacing, "_put", put)
    write_folder(path, filler("another"), carry=lambda name: True)
    assert "another process is writing" in refusals[0]
    assert learned(path) == {}


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "change"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_fails_changes_nothing(path, monkeypatch, call, code):
    (kept,) = add(path, "kept")
    before = check_folder(path)

    def fail(*_):
        raise OSError(code, os.strerror(code))

    def half(file):
        file.write_text("half")
        if call == "write":
            fail()

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if call == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    change = fail if call == "change" else lambda _: Change({new_name(): half}, [kept])
    if call == "change":
        with pytest.raises(OSError, match=os.strerror(code)):
            amend(path, change)
    else:
        full = "the disk is full, nothing was changed"
        refused(amend, path, change, match=full if code == errno.ENOSPC else "cannot be written")
    monkeypatch.undo()
    assert check_folder(path) == before
    assert os.listdir(path / "learned") == [kept.removeprefix("learned/")]
    assert not (path / "manifest.json.partial").exists()
    add(path, "more")
    assert sorted(learned(path).values()) == ["kept", "more"]


def test_written_but_not_confirmed(path, monkeypatch):
    """The manifest is there, the disk does not say so: who tries again finds its name."""
    real = amending.put_manifest

    def put(folder, manifest):
        real(folder, manifest)
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(amending, "put_manifest", put)
    name = new_name()

    def change(manifest: Manifest) -> Change:
        return Change({} if name in manifest.files else {name: text("one")})

    refused(amend, path, change, match="cannot be written")
    monkeypatch.undo()
    amend(path, change)
    assert learned(path) == {name: "one"}


def test_threads_lose_nothing(path):
    def work():
        for i in range(10):
            add(path, str(i))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(learned(path).values()) == sorted(str(i) for i in range(10) for _ in range(4))


def test_a_reader_reads_again_when_files_are_merged_away(path):
    one, two = add(path, "one", "two")
    seen = []

    def read(manifest):
        seen.append(set(manifest.learned))
        if len(seen) == 1:
            amend(path, lambda _: Change({new_name(): text("one two")}, [one, two]))
        try:
            return [(path / name).read_text() for name in manifest.learned]
        except FileNotFoundError as reason:
            raise BundleError("gone") from reason

    assert read_folder(path, read) == ["one two"]
    assert len(seen) == 2

    def learning(manifest):
        add(path, "more")  # changes nothing of what was read
        return len(manifest.learned)

    assert read_folder(path, learning) == 1


def test_a_reader_reads_again_when_the_bundle_is_another(path):
    seen = []

    def read(manifest):
        seen.append(manifest)
        if len(seen) == 1:
            write_folder(path, filler("another"))
        return manifest

    assert read_folder(path, read) == open_folder(path) == seen[1]
    (path / "SUMMARY.md").unlink()
    refused(read_folder, path, read, match=r"SUMMARY\.md is missing")


def test_damage_is_told_once(path, monkeypatch):
    (name,) = add(path, "one")
    (path / name).write_text("two")
    refused(check_folder, path, match="its checksum differs")
    (path / name).unlink()
    refused(open_folder, path, match="is missing")
    assert ABOUT.learned == {}
    assert store.current_manifest(path).learned
