"""The page of all modules: what each says of itself in its first sentence, package by package."""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).parents[2] / "src" / "tascel"
_HEAD = """# Modules

What each file knows, in its own words: the first sentence of its docstring.
[Architecture](architecture.md) says how they go together.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add `modules.md`."""
    parts = [_HEAD]
    for folder in sorted({path.parent for path in SOURCE.rglob("*.py")}):
        rows = [_row(path) for path in sorted(folder.glob("*.py")) if path.stem[:2] != "__"]
        if rows:
            title = ".".join(["tascel", *folder.relative_to(SOURCE).parts])
            parts.append("\n".join([f"## {title}", "", "| | |", "|---|---|", *rows, ""]))
    files.append(File.generated(config, "modules.md", content="\n".join(parts)))
    return files


def _row(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(said.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    return f"| `{path.stem}` | {first.replace('|', '&#124;')} |"
