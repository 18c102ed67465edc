"""Every command and every Python block in the documentation can be typed as it stands: options,
extras, targets, scripts and names exist. Blocks of `sh` are commands, and those of no language
that begin like one; commands that nothing here knows are other programs'."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

import tascel
from pages import ROOT, commands, written_pages
from tascel import cli

COMMANDS = [
    pytest.param(command, id=f"{page}: {' '.join(command)[:60]}")
    for page in written_pages()
    for language, block in page.blocks("sh", "")
    if language or block.startswith(("make ", "pip ", "python ", "tascel "))
    for command in commands(block)
]
PYTHON = [
    pytest.param(code, id=f"{page} {at}")
    for page in written_pages()
    for at, (_, code) in enumerate(page.blocks("python"), start=1)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_typed(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in command:  # files that commands before this one have written
        if re.fullmatch(r"[\w.-]+\.jsonl?", word):
            (tmp_path / word).touch()
    if "tascel" in command[:4]:  # python -m tascel, accelerate launch -m tascel
        parse(command[command.index("tascel") + 1 :])
    elif command[:2] == ["pip", "install"]:
        extras = [name for word in command for name in re.findall(r"tascel\[(.*)\]", word)]
        assert {part for names in extras for part in names.split(",")} <= extras_of_project()
    elif command[0] == "make":
        targets = [word for word in command[1:] if "=" not in word]
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    elif command[0].startswith("python") and command[1].endswith(".py"):
        script = (ROOT / command[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in script for word in command if word.startswith("--"))


@pytest.mark.parametrize("code", PYTHON)
def test_python_names_what_is_there(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tascel"):
            assert {alias.name for alias in node.names} <= names_of(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("tascel."):
            called = getattr(tascel, ast.unparse(node.func).split(".")[1])
            keywords = {keyword.arg for keyword in node.keywords}
            assert keywords <= set(inspect.signature(called).parameters)


def test_there_is_something_to_check():
    assert len(COMMANDS) > 50
    assert len(PYTHON) > 10


def test_what_is_not_there_is_noticed():
    with pytest.raises(BaseException, match="--models"):
        parse(["build", "traces.jsonl", "--models", "m", "-o", "bundle"])
    assert "Nothing" not in names_of("tascel.types")


def parse(words: list[str]) -> None:
    """As typer reads them, but for what is to be done then."""
    group = get_command(cli.app)
    while words and words[0] in getattr(group, "commands", {}):
        group, words = group.commands[words[0]], words[1:]
    if hasattr(group, "commands"):  # no verb: an option of tascel itself
        assert set(words) <= {name for option in group.params for name in option.opts}
    else:
        group.make_context(group.name, list(words))


@cache
def extras_of_project() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


@cache
def names_of(module: str) -> set[str]:
    """What a module of ours has, read off its file: it may need what is not installed."""
    spec = find_spec(module)
    assert spec is not None, f"there is no {module}"
    assert spec.origin is not None
    file = Path(spec.origin)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {path.stem for path in file.parent.iterdir()} if file.stem == "__init__" else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found
