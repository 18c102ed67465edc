"""A disk that takes nothing: it is said once, drafts go on, and all is written down later."""

import errno
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import tascel
from tascel.builder import build
from tascel.codec import Codec
from tascel.errors import BundleError
from tascel.learning import LearnConfig
from tascel.store.folder import check_folder, open_folder


def learned(parent, path, tmp_path, how) -> dict:
    report = tmp_path / "said.json"
    report.touch()
    report.chmod(0o666)
    parent.start("unable", path=str(path), report=str(report), how=how)
    assert parent.ended() == 0
    return json.loads(report.read_text())


def said_once_and_written_later(said, message) -> None:
    hindered, later, end = said["stats"]
    assert (hindered["unflushed"], hindered["traces"]) == (3, 3)
    assert message in hindered["last_error"]
    assert len(said["logged"]) == 1
    assert message in said["logged"][0]
    assert later["unflushed"] == end["unflushed"] == end["lost"] == 0
    assert later["last_error"] is None
    assert end["traces"] == 6


def test_a_file_that_cannot_grow(warm, bundle, tmp_path, found):
    said = learned(warm[0], bundle, tmp_path, "size")
    said_once_and_written_later(said, "cannot be written (File too large)")
    assert sorted(found(bundle)) == [(0, at) for at in range(6)]


@pytest.fixture
def readable(built):
    """A bundle that everybody may read, and nobody but us write."""
    folder = Path(tempfile.mkdtemp(prefix="tascel-"))
    folder.chmod(0o755)
    yield shutil.copytree(built, folder / "b")
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written(warm, readable, tmp_path, found):
    said = learned(warm[0], readable, tmp_path, "owner")
    said_once_and_written_later(said, "cannot be locked by a file beside it (Permission denied)")
    assert sorted(found(readable)) == [(0, at) for at in range(6)]


def test_answers_stay_what_they_are(bundle, toy_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    prompts = [f"light {i % 3}" for i in range(8)]
    plain = tascel.load(bundle, model=toy_folder)
    expected = [plain.generate(prompt, max_tokens=40, stop=("\n",)).tokens for prompt in prompts]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    learn = LearnConfig(flush=0.0, background=False)
    with tascel.load(bundle, model=toy_folder, learn=learn) as runner:
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "tascel.learning"):
            patch.setattr(os, "fsync", full)
            tokens = [runner.generate(p, max_tokens=40, stop=("\n",)).tokens for p in prompts]
            assert "the disk is full" in runner.draft.stats().last_error
        assert len(caplog.records) == 1
        assert not open_folder(bundle).learned
    assert tokens == expected
    assert open_folder(bundle).learned  # at the end there was room


def test_a_build_says_that_the_disk_is_full(bundle, toy_folder, lamps, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = check_folder(bundle)
    monkeypatch.setattr(Codec, "save", full)
    with pytest.raises(BundleError, match="the disk is full, nothing was changed"):
        build(lamps, toy_folder, bundle)
    assert check_folder(bundle) == before
