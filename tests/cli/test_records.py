"""`tascel learn`, `merge` and `forget`, as a user types them."""

from __future__ import annotations

import json
import shutil

import pytest

from tascel.bundle import Bundle
from tascel.store.folder import check_folder


@pytest.fixture
def traces(tmp_path):
    """`traces("a", 3, "attic")` writes a file."""

    def write(name, count, room, **facts):
        file = tmp_path / f"{name}.jsonl"
        lines = [
            {"prompt": f"light {i} in the {room}", "output": f'{{"on": "{room}"}}', **facts}
            for i in range(count)
        ]
        file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        return file

    return write


@pytest.fixture
def bundle(tascel, traces, toy_folder, tmp_path):
    """Of old exchanges in the den and new ones in the hall."""
    old = traces("old", 6, "den", time="2001-01-01").read_text(encoding="utf-8")
    both = traces("both", 8, "hall")
    both.write_text(old + "\n" + both.read_text(encoding="utf-8"), encoding="utf-8")
    assert tascel("build", both, "-m", toy_folder, "-o", tmp_path / "bundle")[0] == 0
    return tmp_path / "bundle"


def test_learn(tascel, bundle, traces):
    code, out, _ = tascel("learn", bundle)
    assert code == 0
    assert "nothing new" in out
    code, out, _ = tascel("learn", bundle, traces("new", 3, "attic"))
    assert code == 0
    assert "learned 3 traces and 0 exchanges" in out
    assert Bundle.open(bundle).manifest.counts["outputs"] == 17
    code, out, _ = tascel("learn", bundle, "--days", "365")
    assert "left out 6" in out
    bad = traces("bad", 1, "loft")
    bad.write_text(bad.read_text(encoding="utf-8") + "\noops", encoding="utf-8")
    code, _, err = tascel("learn", bundle, bad)
    assert code == 1
    assert "bad.jsonl:2" in err
    code, _, err = tascel("learn", bundle, bad, "--skip-bad")
    assert code == 0
    assert "1 bad record" in err
    assert Bundle.open(bundle).manifest.counts["outputs"] == 12


def test_merge(tascel, bundle, traces, toy_folder, tmp_path):
    tascel("build", traces("new", 3, "attic"), "-m", toy_folder, "-o", tmp_path / "b")
    code, out, _ = tascel("merge", bundle, tmp_path / "b", "-o", tmp_path / "c")
    assert code == 0
    assert "17 outputs (3 distinct)" in out
    assert check_folder(tmp_path / "c").command[1:] == ("merge", "bundle", "b", "-o", "c")
    code, _, err = tascel("merge", bundle, "-o", tmp_path / "d")
    assert code == 1
    assert "two bundles" in err
    code, _, err = tascel("merge", bundle, tmp_path / "no", "-o", tmp_path / "d")
    assert code == 1
    assert "no such bundle" in err
    assert not (tmp_path / "d").exists()


def test_forget(tascel, bundle, tmp_path):
    before = check_folder(bundle)
    code, out, _ = tascel("forget", bundle, "--match", "light 7", "--dry-run")
    assert code == 0
    assert "1 of 14 exchanges would be forgotten" in out
    assert check_folder(bundle) == before
    shutil.copytree(bundle, tmp_path / "copy")
    code, out, _ = tascel("forget", bundle, "--match", "light 7")
    assert "1 of 14 exchanges are forgotten" in out
    assert "light 7" not in json.dumps(check_folder(bundle).command)
    code, out, _ = tascel("forget", bundle, "--older-than", "52w")
    assert "6 of 13" in out
    code, out, _ = tascel("forget", bundle, "--older-than", "52w")
    assert code == 0
    assert "0 of 7 exchanges, nothing was changed" in out
    check_folder(bundle)
    code, out, _ = tascel("forget", tmp_path / "copy", "--match", "light [34]", "--older-than=1h")
    assert "2 of 14" in out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "what to forget"),
        (("--match", "("), "no regular expression"),
        (("--older-than", "a month"), "no age"),
        (("--match", "."), "all of its 14"),
    ],
)
def test_what_cannot_be_forgotten_is_said_and_nothing_changes(tascel, bundle, options, why):
    before = check_folder(bundle)
    code, _, err = tascel("forget", bundle, *options)
    assert code == 1
    assert why in err
    assert check_folder(bundle) == before
