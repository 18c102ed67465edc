"""Pages that say "run by a test in a folder that holds …" are: their commands and their Python,
from top to bottom, with a toy model. A server would not end, so what starts one is only typed (see
`test_typed.py`)."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from pages import commands, written_pages
from tascel import cli
from tascel.builder import build

PAGES = [page for page in written_pages() if page.is_run]


@pytest.fixture
def folder(toy_folder, tmp_path, monkeypatch):
    """With `my-model/`, `traces.jsonl` and `bundle/`."""
    shutil.copytree(toy_folder, tmp_path / "my-model")
    lines = [{"prompt": f"light {i}", "output": f'{{"on": {i % 3}}}'} for i in range(30)]
    (tmp_path / "traces.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("warnings.showwarning", None)
    build("traces.jsonl", "my-model", "bundle")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pages_can_be_followed(page, folder, monkeypatch):
    names: dict[str, object] = {}
    for language, code in page.blocks("sh", "python"):
        if language == "python":
            exec(compile(code, str(page), "exec"), names)
            continue
        for command in commands(code):
            if runs(command):
                follow(command, monkeypatch)


def test_the_pages_that_newcomers_read_are_run():
    assert {"docs/first-steps.md", "docs/usage.md"} <= set(map(str, PAGES))


def runs(command: list[str]) -> bool:
    return command[0] == "tascel" and command[1] != "serve" and not command[1].startswith("-")


def follow(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    # nothing may pay on a toy, and then verify proves nothing
    assert end.value.code in ((0, None, 1) if "verify" in command else (0, None)), command
