"""The page at `/`, end to end: Chromium against a live toy server."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tascel.serve import static

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=30_000)
browser_only = pytest.mark.browser
PROMPT = "light 1 in the den"


def test_its_files_are_served_and_nothing_else(live):
    page = httpx.get(f"{live.url}/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page.text))
    assert {"page/main.js", "page/style.css"} <= named
    for path in (*named, *(f"page/{file.name}" for file in static.FOLDER.iterdir())):
        file = httpx.get(f"{live.url}/{path}")
        assert file.status_code == 200, path
        assert file.headers["x-content-type-options"] == "nosniff"
    for path in ("page/none.js", "page/../app.py", "page/%2e%2e/app.py", "page/..%2fapp.py"):
        assert httpx.get(f"{live.url}/{path}").status_code == 404


def test_it_loads_nothing_from_elsewhere():
    for file in static.FOLDER.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//cdn|@import|innerHTML|eval\(", text), file.name


def test_it_can_be_left_out(start):
    with start(page=False) as live:
        assert httpx.get(f"{live.url}/").status_code == 404
        assert httpx.get(f"{live.url}/page/main.js").status_code == 404
        assert live.health()[0] == 200


def test_a_wheel_holds_it():
    """Package data lies beside the modules, which the wheel takes whole."""
    assert Path(static.__file__).parent / "page" == static.FOLDER
    assert {"index.html", "style.css", "main.js"} <= {file.name for file in static.FOLDER.iterdir()}


def visit(page, url):
    page.goto(url)
    expect(page.locator("#model")).to_have_text("toy")


def ask(page, prompt=PROMPT, tokens=40):
    page.fill("#prompt", prompt)
    page.locator("#more").evaluate("details => { details.open = true }")
    page.fill("#max-tokens", str(tokens))
    page.keyboard.press("Control+Enter")


def answer(page, panel):
    return page.locator(f"#{panel} .answer").inner_text()


@browser_only
def test_drafts_on_and_off_say_the_same(live, page, served_runner):
    served_runner.forget()
    expected = served_runner.generate(PROMPT, max_tokens=40, drafts=False).text
    visit(page, live.url)
    ask(page)
    expect(page.locator("#verdict")).to_contain_text("The same answer")
    for panel in ("with", "without"):
        assert page.locator(f"#{panel} .answer").text_content() == expected
    drafted = page.locator("#with .answer .token:not(.source-model)")
    assert drafted.count() > 5
    assert page.locator("#without .answer .token:not(.source-model)").count() == 0
    cost = [page.locator(f"#{panel} .cost").inner_text().split() for panel in ("with", "without")]
    on, off = (dict(zip(("tokens", "passes"), _numbers(told), strict=False)) for told in cost)
    assert on["tokens"] == off["tokens"] == off["passes"]
    assert on["passes"] < off["passes"]
    drafted.first.hover()
    source = drafted.first.get_attribute("data-source")
    expect(page.locator("#with .told")).to_contain_text(f"{source}: ")
    lines = (
        "token => (({ borderTopStyle: a, borderBottomStyle: b }) => a + b)(getComputedStyle(token))"
    )
    assert drafted.first.evaluate(lines) != "nonenone"  # not told by its colour alone


def _numbers(words):
    return [float(word) for word in words if re.fullmatch(r"[\d.]+", word)]


@browser_only
def test_an_answer_comes_pass_by_pass_and_can_be_stopped(start, page):
    with start() as live:
        visit(page, live.url)
        page.uncheck("#compare")
        live.pace.hold()
        ask(page, tokens=100)
        expect(page.locator("#stop")).to_be_enabled()
        live.pace.allow(2)
        expect(page.locator("#with .answer .token").first).to_be_visible()
        assert page.locator("#with .answer").get_attribute("aria-busy") == "true"
        shown = page.locator("#with .answer .token").count()
        page.keyboard.press("Escape")
        expect(page.locator("#with .alert")).to_have_text("Stopped.")
        expect(page.locator("#stop")).to_be_disabled()
        live.pace.free()
        live.until(lambda: live.health()[1]["running"] == 0, "generation has ended")
        assert live.metric("tascel_answers_total", end="cancelled") == 1
        assert page.locator("#with .answer .token").count() == shown
        assert not page.locator("#without").is_visible()


@browser_only
def test_a_new_question_takes_the_panels_over(start, page, served_runner):
    expected = served_runner.generate(PROMPT, max_tokens=40, drafts=False).text
    with start() as live:
        visit(page, live.url)
        page.uncheck("#compare")
        live.pace.hold()
        ask(page, "light 2 in the den")
        live.pace.allow(1)
        expect(page.locator("#with .answer .token").first).to_be_visible()
        ask(page)
        live.pace.free()
        expect(page.locator("#with .cost")).to_contain_text("passes")
        assert page.locator("#with .answer").text_content() == expected
        assert page.locator("#with .alert").text_content() == ""


@browser_only
def test_a_server_that_is_full_says_so(start, page):
    """It refuses now and answers later; nothing of the page is stuck."""
    page.watched.expected = ["429"]
    body = {"messages": [{"role": "user", "content": "light 0"}], "max_tokens": 4}
    with ThreadPoolExecutor(2) as pool, start(rows=1, queue=1) as live:
        visit(page, live.url)
        live.pace.hold()
        others = [pool.submit(live.post, "/v1/chat/completions", body) for _ in range(2)]
        live.until(lambda: live.health()[1]["waiting"] == 2, "row and queue are full")
        ask(page)
        expect(page.locator("#with .alert")).to_contain_text("Try again soon")
        expect(page.locator("#stop")).to_be_disabled()
        live.pace.free()
        assert [other.result().status_code for other in others] == [200, 200]
        page.keyboard.press("Control+Enter")
        expect(page.locator("#verdict")).to_contain_text("The same answer")
        expect(page.locator("#with .alert")).to_be_empty()


@browser_only
def test_the_keyboard_is_enough(live, page):
    visit(page, live.url)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type(PROMPT)
    order = []
    for key in ("Tab", "Enter", "Tab", "Tab"):  # open what is folded
        page.keyboard.press(key)
        order.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert order == ["SUMMARY", "SUMMARY", "system", "max-tokens"]
    page.keyboard.press("Control+a")
    page.keyboard.type("40")
    for name in ("temperature", "task", "compare", "run"):
        page.keyboard.press("Tab")
        expect(page.locator(f"#{name}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_contain_text("The same answer")
    page.locator("#with .answer").focus()
    tokens = page.locator("#with .answer .token")
    for key, at in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", -1)):
        page.keyboard.press(key)
        token = tokens.nth(at) if at >= 0 else tokens.last
        expect(token).to_have_class(re.compile(r"\bat\b"))
        told = f"{token.get_attribute('data-source')}: "
        expect(page.locator("#with .told")).to_contain_text(told)
    assert page.locator("#with .answer .at").count() == 1


@browser_only
def test_a_sample_fills_the_form(live, page):
    visit(page, live.url)
    choice = page.locator("#sample")
    expect(choice).to_be_visible()
    expect(choice.locator("option")).to_have_count(5)
    choice.select_option(index=2)
    assert page.locator("#prompt").input_value() == choice.locator("option").nth(2).inner_text()


@browser_only
def test_markup_in_prompts_and_answers_is_text(start, page, monkeypatch):
    evil = "<img src=x onerror=alert(1)></textarea><script>alert(1)</script>"
    from tascel.serve import app
    from tascel.serve.replies import Sample, SampleTurn

    sample = Sample(messages=[SampleTurn(role="user", content=evil)], task=evil)
    monkeypatch.setattr(app, "samples", lambda runner, tenant: [sample, sample])
    with start(name="toy") as live:
        visit(page, live.url)
        page.locator("#sample").select_option(index=1)
        assert page.locator("#prompt").input_value() == evil
        page.locator("#more").evaluate("details => { details.open = true }")
        page.fill("#task", evil)
        ask(page, evil)
        expect(page.locator("#verdict")).not_to_be_empty(timeout=30_000)
        expect(page.locator("#live table").first).to_contain_text("<img src=x")
        assert page.locator("img, main script").count() == 0


@browser_only
def test_keys_wrong_and_right(start, page):
    page.watched.expected = ["401"]
    with start(key="s3cret") as live:
        page.goto(live.url)
        expect(page.locator("#keys")).to_be_visible()
        expect(page.locator("#key")).to_be_focused()
        page.click("#keys-open")
        page.wait_for_timeout(4500)  # it asks once, not at every reading
        expect(page.locator("#keys")).to_be_hidden()
        page.click("#keys-open")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#keys-why")).to_contain_text("asks for a key")
        page.fill("#key", "s3cret")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_have_text("toy")
        expect(page.locator("#keys")).to_be_hidden()
        ask(page)
        expect(page.locator("#verdict")).to_contain_text("The same answer")
        page.reload()  # the tab remembers
        expect(page.locator("#model")).to_have_text("toy")
        assert "s3cret" not in page.evaluate("JSON.stringify(localStorage)")


@browser_only
def test_tenants_have_the_playground_and_the_operator_the_charts(start, page):
    page.watched.expected = ["401"]
    with start(key="boss", tenants={"acme": ["acme-key"], "zoo": ["zoo-key"]}) as live:
        page.goto(live.url)
        page.fill("#key", "acme-key")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_have_text("toy")
        expect(page.locator("#live-told")).to_contain_text("operator's key")
        ask(page)
        expect(page.locator("#verdict")).to_contain_text("The same answer")
        expect(page.locator("#live table")).to_have_count(0)
        page.click("#keys-open")
        page.fill("#operator", "boss")
        page.keyboard.press("Enter")
        expect(page.locator("#live-told")).to_be_empty()
        tasks = page.locator("#live .card", has_text="Traffic by task")
        expect(tasks.locator("tbody th")).to_contain_text("acme / ")
        assert "-key" not in page.locator("body").inner_text()


@browser_only
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_well_for_all(live, open_page, scheme):
    """Axe finds nothing to say: names, roles, contrast, order."""
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    visit(page, live.url)
    ask(page)
    expect(page.locator("#verdict")).to_contain_text("The same answer")
    expect(page.locator("#live table")).to_have_count(3)
    page.click("#keys-open")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == 390, "no scrolling to the side on a phone"


@browser_only
def test_colours_can_be_chosen(live, page):
    visit(page, live.url)
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.select_option("#theme", "dark")
    assert page.evaluate(ground) != light
    page.reload()
    expect(page.locator("#theme")).to_have_value("dark")
    assert page.evaluate(ground) != light
