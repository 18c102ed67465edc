"""The documentation as tests read it: pages, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
#: A page that says so is run; whoever writes it there promises it.
_RUN = re.compile(r"run\s+by\s+a\s+test\s+in\s+a\s+folder\s+that\s+holds((?:[^.;`]|`[^`]*`)*)")


@dataclass(frozen=True)
class Page:
    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def folder(self) -> list[str]:
        """What the folder holds that the page is run in; nothing if it is not run."""
        said = _RUN.search(self.text)
        return re.findall(r"`([\w-]+/|[\w.-]+\.jsonl)`", said[1]) if said else []

    def blocks(self, *languages: str) -> Iterator[tuple[str, str]]:
        """The language and the code of each block of these languages, or of all; "" has none."""
        for language, code in _BLOCK.findall(self.text):
            if not languages or language in languages:
                yield language, code


def written_pages() -> list[Page]:
    """All that people wrote: `docs/cli.md` is generated."""
    found = sorted({*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")})
    found += sorted(ROOT.glob("examples/*/README.md"))
    return [Page(path) for path in found if path != DOCS / "cli.md"]


def commands(block: str) -> Iterator[list[str]]:
    """The commands of a block as their words: those of a line parted, comments and variables set
    before them left out."""
    for line in block.replace("\\\n", " ").splitlines():
        shell = shlex.shlex(line, posix=True, punctuation_chars=True)
        shell.whitespace_split = True
        command: list[str] = []
        for word in [*shell, ";"]:
            if set(word) <= set(";&|"):
                if command:
                    yield command
                command = []
            elif command or not re.match(r"\w+=", word):
                command.append(word)
