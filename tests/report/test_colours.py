"""Who wrote a token looks alike wherever it is shown, and can be told with and without colours."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from tascel.cli import console
from tascel.report.colours import DARK, LIGHT, LINES, SOURCES
from tascel.types import SOURCES as CODES

LIVE = files("tascel.serve").joinpath("page")
DRAFTED = set(CODES) - {"model"}


def test_every_source_has_a_colour_a_line_and_words():
    assert set(CODES) == set(SOURCES) == set(LINES) == set(console.COLOURS)
    assert set(LIGHT) == set(DARK) >= set(CODES)
    assert len(set(LINES.values())) == len(LINES)
    for colours in (LIGHT, DARK):
        assert len({colours[name] for name in CODES}) == len(CODES)
    assert len({console.COLOURS[name] for name in CODES}) == len(CODES) - 1  # a head's are plain


def test_the_live_page_has_the_same_colours_and_lines():
    style = LIVE.joinpath("style.css").read_text(encoding="utf-8")
    colours = {
        name: (light, dark)
        for name, light, dark in re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\);", style)
        if name in CODES
    }
    assert colours == {name: (LIGHT[name], DARK[name]) for name in DRAFTED}
    lines = re.findall(r"\.source-(\w+) \{ --source: var\(--(\w+)\); ([^;]+); \}", style)
    assert {name: line for name, _, line in lines} == {name: LINES[name] for name in DRAFTED}
    fills = re.findall(r"\.fill-(\w+) \{ fill: var\(--(\w+)\); \}", style)
    assert {name for name, _ in fills} == DRAFTED
    assert all(name == variable for name, variable, *_ in [*lines, *fills])


def test_the_live_page_has_the_same_words():
    text = LIVE.joinpath("sources.js").read_text(encoding="utf-8")
    assert dict(re.findall(r'^  (\w+): "(.+)",$', text, re.MULTILINE)) == SOURCES


def luminance(colour):
    """The relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK])
@pytest.mark.parametrize(
    ("names", "least"), [(("ink", "muted", "accent"), 4.5), ((*CODES, "warm"), 3.0)]
)
def test_text_and_lines_have_contrast(colours, names, least):
    for name in names:
        for below in ("paper", "card"):
            low, high = sorted((luminance(colours[name]), luminance(colours[below])))
            assert (high + 0.05) / (low + 0.05) >= least, (name, below)
