"""One self-contained file of HTML: numbers, pictures, and answers whose drafts can be looked at."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from tascel.errors import TascelError
from tascel.report.colours import DARK, LIGHT, LINES, SOURCES
from tascel.report.drawing import Chart, inline, needed, save
from tascel.store.file import whole_file


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below `heads`; the row called `ours` stands out."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    ours: str = "tascel"


@dataclass(frozen=True, slots=True)
class Page:
    """What a report says, from its `lead`, the result in a sentence, down to single answers.

    `facts` say what was measured and how; `steps` what to do, in words, and the commands for it;
    `notes` what else to know; `answers` are as `bench.shown` tells them, `chosen` says which they
    are.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]] = ()
    steps: Sequence[tuple[str, Sequence[str]]] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    answers: Sequence[Mapping[str, Any]] = ()
    chosen: str = ""
    notes: Sequence[str] = ()


def render(page: Page) -> str:
    """The page as HTML that asks for nothing else.

    Raises:
        TascelError: jinja2 or matplotlib is not installed.
    """
    written = {s for a in page.answers for step in a["steps"] for _, s in step["pieces"]}
    offered = {
        s for a in page.answers for step in a["steps"] for b in step["branches"]
        for _, s, _ in b["tokens"]
    }  # fmt: skip
    script = _text("page.js")
    return _template().render(
        page=page,
        charts=[(chart, inline(chart)) for chart in page.charts],
        light=LIGHT, dark=DARK, lines=LINES,
        sources={name: words for name, words in SOURCES.items() if name in written | offered},
        style=_text("style.css"), script=script, digest=_digest(script),
    )  # fmt: skip


def write(page: Page, html: Path | None, plots: Path | None) -> None:
    """Write the page to the file `html` and its pictures into the folder `plots`, where given.

    Raises:
        TascelError: a package is missing, or something cannot be written.
    """
    if html is not None:
        text = render(page)
        with whole_file(html) as file:
            file.write(text)
    if plots is not None:
        save(page.charts, plots)


def ready(html: Path | None, plots: Path | None) -> None:
    """See that a report can be made and has a place, before hours are spent on its numbers.

    Raises:
        TascelError: a package is missing, or a file or folder is in the way.
    """
    if html is not None:
        _template()
        if html.is_dir():
            raise TascelError(f"{html} is a folder", "Name a file for the page")
    if plots is not None and plots.exists() and not plots.is_dir():
        raise TascelError(f"{plots} is no folder", "Name a folder for the pictures")
    if html is not None or plots is not None:
        needed()


@cache
def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise TascelError("reports need jinja2", "pip install 'tascel[report]'") from None
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_text("page.html"))


def _digest(script: str) -> str:
    """What the page's policy calls the one script that may run."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _text(name: str) -> str:
    return files("tascel.report").joinpath(name).read_text(encoding="utf-8")
