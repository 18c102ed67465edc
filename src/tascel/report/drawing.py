"""Charts as figures: inside a page, with the page's colours, or as PNG and SVG files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from tascel.errors import TascelError
from tascel.report.colours import LIGHT

Colours = Mapping[str, str]
#: What stands for each colour until it becomes a variable of the page: colours nobody draws with.
_STAND_IN: Colours = {name: f"#0f0e{at:02x}" for at, name in enumerate(LIGHT)}
#: Inches; in a page at about their size on a phone.
SIZE = (4.6, 2.9)
#: Text stays text, and no label of the user's is read as a formula.
_SETTINGS: Mapping[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "tascel", "text.parse_math": False,
    "font.family": "DejaVu Sans", "font.size": 8.5, "axes.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: `name` is its file's, `note` says what it means; `draw` fills a figure."""

    name: str
    title: str
    note: str
    draw: Callable[[Any, Colours], None]
    height: float = SIZE[1]


def inline(chart: Chart) -> str:
    """The chart as an `svg` element, whose colours are variables of the page's style.

    Raises:
        TascelError: matplotlib is not installed.
    """
    text = StringIO()
    _save(chart, _STAND_IN, text, "svg")
    svg = text.getvalue()
    svg = '<svg aria-hidden="true"' + svg[svg.index("<svg") + len("<svg") :]
    for name, colour in _STAND_IN.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r'\bid="', f'id="{chart.name}-', svg)
    svg = re.sub(r'href="#|url\(#', lambda at: f"{at[0]}{chart.name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)


def save(charts: Iterable[Chart], folder: Path) -> list[Path]:
    """Write each chart into `folder` as NAME.png and NAME.svg; returns the files.

    Raises:
        TascelError: matplotlib is not installed, or the folder cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for chart in charts:
            for kind in ("png", "svg"):
                written.append(folder / f"{chart.name}.{kind}")
                _save(chart, LIGHT, written[-1], kind, titled=True)
    except OSError as reason:
        raise TascelError(
            f"{folder}: cannot be written ({reason.strerror})", "Name another folder"
        ) from None
    return written


def needed() -> Any:
    """matplotlib, where it is installed.

    Raises:
        TascelError: it is not.
    """
    try:
        return import_module("matplotlib")
    except ImportError:
        raise TascelError("pictures need matplotlib", "pip install 'tascel[report]'") from None


def _save(chart: Chart, colours: Colours, where: Any, kind: str, *, titled: bool = False) -> None:
    rc_context = needed().rc_context
    from matplotlib.figure import Figure

    settings = {name: colours["ink"] for name in ("text.color", "axes.labelcolor")}
    settings |= {name: colours["muted"] for name in ("xtick.color", "ytick.color")}
    settings |= {"axes.edgecolor": colours["line"], "grid.color": colours["line"]}
    with rc_context({**_SETTINGS, **settings}), warnings.catch_warnings():
        # A page's reader has fonts for all scripts; in a PNG a box stands for what this one lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(SIZE[0], chart.height + 0.3 * titled), layout="constrained")
        chart.draw(figure, colours)
        if titled:
            figure.suptitle(chart.title, x=0.02, ha="left", fontsize=10)  # pyright: ignore[reportUnknownMemberType]
        metadata = {"Date": None} if kind == "svg" else None
        paper = colours["paper"] if kind == "png" else "none"
        figure.savefig(where, format=kind, dpi=200, facecolor=paper, metadata=metadata)  # pyright: ignore[reportUnknownMemberType]
