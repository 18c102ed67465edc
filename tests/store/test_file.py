"""A single file, whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tascel.errors import TascelError
from tascel.store.file import whole_file


def put(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text)


def interrupted(path: Path, error: BaseException) -> None:
    with whole_file(path) as file:
        file.write("new")
        raise error


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as file:
        file.write("é")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "é"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConnectionError("offline")])
def test_a_failed_block_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        interrupted(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path) as first, whole_file(path) as second:
        first.write("first")
        second.write("second")
    assert path.read_text() == "first"  # the block that ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    target, link = tmp_path / "far" / "a.txt", tmp_path / "link"
    link.symlink_to(target)
    for text in ("made", "replaced"):
        put(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_rights_are_those_of_any_new_file_or_stay(tmp_path):
    path, usual = tmp_path / "a.txt", tmp_path / "usual"
    usual.touch()
    put(path, "")
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o600)
    put(path, "secret")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_written_into():
    code = (
        "from pathlib import Path; from tascel.store.file import whole_file\n"
        "with whole_file(Path('/dev/stdout')) as file: file.write('é')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == "é".encode()


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a").write_text("a file")
    for path in (tmp_path, tmp_path / "a" / "b.txt"):
        with pytest.raises(TascelError, match=r"cannot be written \(.+\)\. Choose") as refused:
            put(path, "x")
        assert str(path) in refused.value.what


def test_a_full_disk_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(TascelError, match=r"a\.txt: the disk is full\. Free"):
        interrupted(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_device_is_named():
    with pytest.raises(TascelError, match="disk is full"):
        put(Path("/dev/full"), "x")
