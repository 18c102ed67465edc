"""Pages that say "run by a test in a folder that holds …" are: their commands and their Python,
from top to bottom, with a toy model. A server would not end, and an engine may not be installed:
what names these is only typed (see `test_typed.py`)."""

from __future__ import annotations

import json
import shutil
import sys
from itertools import repeat
from pathlib import Path

import pytest

from pages import commands, written_pages
from tascel import cli
from tascel.builder import build
from tascel.engines.known import ENGINES
from tascel.traces.record import trace

PAGES = [page for page in written_pages() if page.folder]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to be in, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("warnings.showwarning", None)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pages_can_be_followed(page, here, toy_folder, monkeypatch):
    for name in page.folder:
        lay_out(here / name, toy_folder)
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


def lay_out(path: Path, toy_folder: Path) -> None:
    """Make what a page wants to find: its name says what it is."""
    lines = [{"prompt": f"light {i}", "output": f'{{"on": {i % 3}}}'} for i in range(30)]
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    elif path.name.endswith("bundle"):
        build(map(trace, lines, repeat(True)), toy_folder, path)
    else:
        assert path.name == "my-model", f"nobody knows what {path.name} is"
        shutil.copytree(toy_folder, path)


def runs(command: list[str]) -> bool:
    """Whether it is a verb of ours that ends, under an engine that is here."""
    engines = [engine for name, engine in ENGINES.items() if name in command]
    ours = command[0] == "tascel" and command[1] != "serve" and not command[1].startswith("-")
    return ours and all(engine.version() for engine in engines)


def follow(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    # nothing may pay on a toy, and then verify proves nothing
    assert end.value.code in ((0, None, 1) if "verify" in command else (0, None)), command
