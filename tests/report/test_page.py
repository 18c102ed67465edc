"""What stands in a page, and how it is written down."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from tascel.errors import TascelError
from tascel.report import drawing, page, verbs
from tascel.report.colours import LIGHT


class Reader(HTMLParser):
    """All tags with their attributes, and all text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside = tag
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text.append(data)

    @property
    def said(self):
        return " ".join("".join(self.text).split())


def test_the_numbers_the_pictures_and_the_answers_stand_in_the_page(replayed, answers):
    read = Reader(page.render(verbs.replay(replayed, answers)))
    assert "4.00 times as fast" in read.said
    assert "1.20×" in read.said
    assert "3.33× (2.50–4.17)" in read.said
    assert "from token 3 on" in read.said
    assert "2 of 4 drafted tokens accepted" in read.said
    assert "and 2 more" in read.said
    assert "3 of 40" in read.said
    shown = {a["id"] for tag, a in read.tags if tag == "figure"}
    assert shown == {
        f"chart-{name}"
        for name in (
            "speedup", "speedup_by_task", "accepted_lengths", "acceptance_by_position",
            "acceptance_by_source", "hindsight", "price",
        )
    }  # fmt: skip


def test_a_page_asks_for_nothing(replayed, answers):
    read = Reader(page.render(verbs.replay(replayed, answers)))
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "object", "img")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    policy = next(a["content"] for _, a in read.tags if "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_hostile_text_stays_text(replayed, answers, hostile):
    text = page.render(verbs.replay(replayed, answers))
    read = Reader(text)
    assert "window.broken" in read.said
    assert text.count("<script>") == 1
    assert not any("onerror" in attributes for _, attributes in read.tags)
    assert " ".join(hostile.split()) in read.said


def test_ids_are_unique_and_references_lead_somewhere(replayed, answers):
    text = page.render(verbs.replay(replayed, answers))
    read = Reader(text)
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids))
    told = {a["aria-describedby"] for _, a in read.tags if "aria-describedby" in a}
    for pair in re.findall(r'url\(#([^)"]+)\)|href="#([^"]+)"', text):
        told |= set(pair)
    assert told - {""} <= set(ids)


def test_pictures_take_their_colours_from_the_page(replayed):
    for chart in verbs.replay(replayed).charts:
        svg = drawing.inline(chart)
        assert "var(--ink)" in svg
        assert "#0f0e" not in svg
        assert re.search(r"<text[ >]", svg)
        assert svg == drawing.inline(chart)  # the same numbers, the same file
        named = set(re.findall(r"var\(--([a-z]+)\)", svg))
        assert named <= set(LIGHT)


def test_labels_are_no_formulas(replayed):
    (chart,) = (c for c in verbs.replay(replayed).charts if c.name == "speedup_by_task")
    assert "$x^2$ &amp;" in drawing.inline(chart)


def test_labels_may_be_of_any_script(replayed, tmp_path):
    replayed["tasks"][0]["task"] = "照明を点ける 💡 إضاءة"
    made = verbs.replay(replayed)
    page.write(made, tmp_path / "a.html", tmp_path)
    assert "照明を点ける 💡" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "照明を点ける 💡" in (tmp_path / "speedup_by_task.svg").read_text(encoding="utf-8")


def test_plots_are_written_as_png_and_svg(replayed, tmp_path):
    made = verbs.replay(replayed)
    page.write(made, None, tmp_path / "new" / "plots")
    names = {chart.name for chart in made.charts}
    found = {file.name for file in (tmp_path / "new" / "plots").iterdir()}
    assert found == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert (tmp_path / "new/plots/price.png").read_bytes().startswith(b"\x89PNG")
    assert LIGHT["warm"] in (tmp_path / "new/plots/price.svg").read_text(encoding="utf-8")


def test_a_run_that_drafted_nothing_has_fewer_pictures(replayed):
    nothing = replayed["drafting"] | {"drafted_passes": 0}
    names = [chart.name for chart in verbs.replay(replayed | {"drafting": nothing}).charts]
    assert names == ["speedup", "speedup_by_task"]


def test_all_answers_are_said_to_be_all(replayed, answers):
    few = [one | {"rank": ""} for one in answers]
    assert verbs.replay(replayed, few).chosen == "All of them are shown."
    assert "middle" in verbs.replay(replayed, answers).chosen


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_one_clear_message(monkeypatch, tmp_path, replayed, package):
    monkeypatch.setitem(sys.modules, package, None)
    page._template.cache_clear()
    with pytest.raises(TascelError, match=rf"{package}.*pip install 'tascel\[report\]'"):
        page.ready(tmp_path / "a.html", None)
    page.ready(None, None)  # nobody asked for a report
    page._template.cache_clear()


def test_a_folder_that_cannot_be_written_is_said(replayed, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TascelError, match=r"file: cannot be written"):
        page.write(verbs.replay(replayed), None, tmp_path / "file")


def test_tasks_that_are_left_out_are_counted(replayed):
    replayed["tasks"] = [replayed["tasks"][0] | {"task": f"task {at}"} for at in range(9)]
    (chart,) = (c for c in verbs.replay(replayed).charts if c.name == "speedup_by_task")
    assert "The 8 largest of 9 tasks." in chart.note
    svg = drawing.inline(chart)
    assert "task 7" in svg
    assert "task 8" not in svg


def test_what_is_in_the_way_is_said_before_anything_is_counted(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TascelError, match="is a folder"):
        page.ready(tmp_path, None)
    with pytest.raises(TascelError, match="is no folder"):
        page.ready(None, tmp_path / "file")
    page.ready(tmp_path / "file", tmp_path)


def test_the_pages_parts_are_packed():
    for name in ("page.html", "style.css", "page.js"):
        assert files("tascel.report").joinpath(name).is_file()


def test_steps_are_shown_with_their_commands():
    made = replace(
        page.Page("t", "Do it."), steps=[("", ["a | b"]), ("Then <that>.", [])], notes=["Mind."]
    )
    said = Reader(page.render(made)).said
    assert "Do it. a | b Then <that>." in said
    assert "Mind." in said
