"""A report in Chromium, from a file: pointed at, walked through, dark, on a phone, printed."""

from __future__ import annotations

import pytest

from tascel.report import page as pages
from tascel.report import verbs

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def report(replayed, answers, tmp_path):
    """Where the report is."""
    file = tmp_path / "report.html"
    pages.write(verbs.replay(replayed, answers), file, None)
    return file.as_uri()


def shown(page):
    """The passes to be seen, of all answers."""
    return page.locator(".passes li").filter(visible=True)


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_it_opens_from_a_file_and_hostile_text_does_nothing(page, report):
    page.goto(report)
    assert page.title() == "tascel replay"
    assert page.locator("article").count() == 3
    assert page.locator("figure svg").count() == 7
    assert page.evaluate("window.broken") is None


def test_no_script_runs_but_the_pages_own(page, report, tmp_path):
    file = tmp_path / "report.html"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("</main>", "<script>window.broken = 1</script></main>"), "utf-8")
    page.watched.expected.append("Content Security Policy")
    page.goto(report)
    assert page.evaluate("window.broken") is None
    assert page.locator("#theme").inner_text() == "Dark"


def test_pointing_at_a_token_shows_what_was_drafted_in_its_pass(page, report):
    page.goto(report)
    article = page.locator("article").first
    article.locator(".step").nth(2).hover()
    assert "nothing drafted" in article.locator(".passes li").filter(visible=True).inner_text()
    article.locator(".step").nth(1).hover()
    seen = article.locator(".passes li").filter(visible=True)
    assert seen.count() == 1
    assert "2 of 4 drafted tokens accepted" in seen.inner_text()
    assert seen.locator("ins").all_inner_texts() == ["on", " the"]
    assert seen.locator("del").all_inner_texts() == [" lamp", " a"]


def test_a_tap_shows_a_pass(open_page, report):
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    page.goto(report)
    article = page.locator("article").first
    article.locator(".step").first.tap()
    assert article.locator(".passes li").filter(visible=True).inner_text().startswith("Pass 1")


def test_the_keyboard_walks_from_pass_to_pass(page, report):
    page.goto(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    first = page.locator(".step").first
    for _ in range(20):
        page.keyboard.press("Tab")
        if first.evaluate("e => e === document.activeElement"):
            break
    assert first.evaluate("e => e === document.activeElement")
    focused = "document.activeElement.getAttribute('aria-describedby')"
    for key, expected in (
        ("ArrowRight", "pass-1-2"), ("End", "pass-1-3"), ("ArrowRight", "pass-1-3"),
        ("ArrowLeft", "pass-1-2"), ("Home", "pass-1-1"), ("Tab", "pass-2-1"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(focused) == expected
        assert page.locator(f"#{expected}").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#pass-2-1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_switch_turns_the_colours_over(open_page, report, scheme):
    page = open_page(color_scheme=scheme)
    page.goto(report)
    before, button = background(page), page.locator("#theme")
    assert (before == "rgb(255, 255, 255)") == (scheme == "light")
    curve = "getComputedStyle(document.querySelector('figure svg text')).fill"
    ink = page.evaluate(curve)
    assert button.inner_text() == ("Dark" if scheme == "light" else "Light")
    button.click()
    assert background(page) != before
    assert page.evaluate(curve) != ink
    assert button.inner_text() == ("Light" if scheme == "light" else "Dark")
    button.click()
    assert background(page) == before


def test_a_phone_scrolls_down_alone(open_page, report):
    page = open_page(viewport=PHONE)
    page.goto(report)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for picture in page.locator("svg").all():
        box = picture.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


def test_print_shows_every_pass_on_white(open_page, report):
    page = open_page(color_scheme="dark")
    page.goto(report)
    passes = page.locator(".passes li").count()
    assert shown(page).count() < passes
    page.emulate_media(media="print")
    assert shown(page).count() == passes
    assert not page.locator("#theme").is_visible()
    variable = "getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()"
    assert page.evaluate(variable) == "#ffffff"


def test_without_scripts_every_pass_is_shown(open_page, report):
    page = open_page(java_script_enabled=False)
    page.goto(report)
    assert shown(page).count() == page.locator(".passes li").count()


def test_what_is_pictured_is_said(page, report):
    page.goto(report)
    for picture in page.get_by_role("img").all():
        assert len(picture.get_attribute("aria-label")) > 40
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => h.tagName)")
    assert levels[0] == "H1"
    assert set(levels[1:]) == {"H2"}
