"""The package as one meets it: its names, its help, its module, its completion, its metadata."""

from __future__ import annotations

import inspect
import os
import pydoc
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from importlib.resources import files

import pytest
from typer.main import get_command

import tascel
from pages import DOCS, ROOT
from tascel import cli


@pytest.mark.parametrize("name", tascel.__all__)
def test_public_names_say_what_they_are(name):
    thing = getattr(tascel, name)
    assert inspect.getdoc(thing)
    assert name in dir(tascel)
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            if inspect.isroutine(value) and not attribute.startswith("_"):
                assert inspect.getdoc(value), f"{name}.{attribute}"


def test_help_knows_all_of_them():
    said = pydoc.plain(pydoc.render_doc(tascel))
    for name in ("load", "build", "replay", "verify", "Runner", "Completion"):
        assert f"\n    {name}" in said or f"class {name}" in said


def test_what_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="nothing"):
        tascel.nothing  # noqa: B018


def test_the_module_is_the_command():
    for command in ([sys.executable, "-m", "tascel"], [program()]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True)
        assert done.stdout.startswith("tascel "), done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_and_their_options(shell):
    def completed(words: str) -> str:
        asked = os.environ | {
            "_TASCEL_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "_TYPER_COMPLETE_ARGS": words,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        done = subprocess.run([program()], env=asked, capture_output=True, text=True)
        return done.stdout

    verbs = completed("tascel ")
    assert all(verb in verbs for verb in get_command(cli.app).commands)
    assert "replay" not in completed("tascel ver")
    assert "--adapter" in completed("tascel generate --a")


def test_the_command_line_is_documented_as_it_is():
    command = [sys.executable, "-m", "typer", "tascel.cli", "utils", "docs", "--name", "tascel"]
    done = subprocess.run([*command, "--title", "Command line"], capture_output=True, text=True)
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert done.stdout.strip() == page.strip(), "`make docs` writes it anew"


def test_metadata_is_complete():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"classifiers", "description", "keywords", "license", "readme", "requires-python"}
    assert wanted <= set(project)
    assert "Typing :: Typed" in project["classifiers"]
    assert requires("tascel")
    assert (files("tascel") / "py.typed").is_file()
    page = (DOCS / "first-steps.md").read_text(encoding="utf-8")
    for extra in project["optional-dependencies"]:
        assert f"`{extra}`" in page, f"docs/first-steps.md does not say what {extra} brings"


def program() -> str:
    found = shutil.which("tascel", path=os.path.dirname(sys.executable))
    assert found is not None
    return found
