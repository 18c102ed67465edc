"""The page's charts, end to end: what they show is what the server counted."""

from __future__ import annotations

import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tascel.types import SOURCES

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=30_000)
pytestmark = pytest.mark.browser
CHAT = "/v1/chat/completions"


def visit(page, url):
    page.goto(url)
    expect(page.locator("#model")).to_have_text("toy")


def test_the_charts_follow_the_counters(start, page):
    with start() as live:
        visit(page, live.url)
        expect(page.locator("#live")).to_contain_text("No answer yet.")
        for at in range(3):
            body = {"messages": [{"role": "user", "content": f"light {at} in the den"}]}
            live.post(CHAT, body | {"max_tokens": 30, "task": "lights"})
        tasks = page.locator("#live .card", has_text="Traffic by task")
        expect(tasks.locator("tbody th")).to_have_text("lights")
        expect(tasks.locator("tbody td").first).to_have_text("3")
        written = live.metric("tascel_answer_tokens_total")
        expect(page.locator("#live .tiles")).to_contain_text(f"{written:.0f}")
        sources = page.locator("#live .card", has_text="Acceptance by source")
        shown = sources.locator("tbody th").all_inner_texts()
        drafted = {
            source for source in SOURCES
            if live.metric("tascel_drafted_tokens_total", source=source)
        }  # fmt: skip
        assert set(shown) == drafted
        line = page.get_by_role("img", name=re.compile("^Tokens a second"))
        expect(line.locator("path").first).to_have_attribute("d", re.compile("L"))
        page.click("#pause")
        live.post(CHAT, body | {"task": "songs"})
        page.wait_for_timeout(3000)
        expect(tasks.locator("tbody th")).to_have_text("lights")
        page.click("#pause")
        expect(tasks.locator("tbody th")).to_have_count(2)


def test_a_server_that_goes_and_comes_back(served_runner, living, page):
    page.watched.expected = ["ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"]
    with living(served_runner) as live:
        visit(page, live.url)
        expect(page.locator("#health")).to_have_text("ready")
        port = int(live.url.rpartition(":")[2])
    expect(page.locator("#health")).to_have_text("does not answer")
    expect(page.locator("#live-told")).to_contain_text("trying again")
    page.fill("#prompt", "light 1 in the den")
    page.locator("#more").evaluate("details => { details.open = true }")
    page.fill("#max-tokens", "40")
    page.click("#run")
    expect(page.locator("#with .alert")).to_have_text("The server does not answer.")
    with living(served_runner, port=port):
        expect(page.locator("#health")).to_have_text("ready")
        expect(page.locator("#live-told")).to_be_empty()
        page.keyboard.press("Control+Enter")
        expect(page.locator("#verdict")).to_contain_text("The same answer")


def test_a_server_that_is_stuck_is_told_from_one_that_is_well(live, page):
    """It accepts, and answers nothing; the page says so though its charts rest."""
    visit(page, live.url)
    expect(page.locator("#health")).to_have_text("ready")
    page.click("#pause")
    page.route("**/health", lambda route: None)
    expect(page.locator("#health")).to_have_text("does not answer")
    page.unroute("**/health")
    expect(page.locator("#health")).to_have_text("ready")
    expect(page.locator("#live-told")).to_be_empty()


def test_modules_know_what_the_server_knows(live, page):
    """Sources and metrics as Python has them."""
    visit(page, live.url)
    known = page.evaluate("import('/page/sources.js').then(({ SOURCES }) => Object.keys(SOURCES))")
    assert set(known) == set(SOURCES)
    text = httpx.get(f"{live.url}/metrics").text + (
        'odd{a="quo\\"te, } = \\\\ \\n end",b=""} 1.5e3 1700000000\nodd{le="+Inf"} +Inf\n'
    )
    parse = "text => import('/page/prometheus.js').then(m => [...m.parse(text)])"
    parsed = {
        (name, frozenset(one["labels"].items())): one["value"]
        for name, series in page.evaluate(parse, text)
        for one in series
    }
    expected = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert parsed == expected
    lives = """async () => {
        const { History } = await import("/page/live.js"), history = new History();
        const { parse } = await import("/page/prometheus.js");
        for (const [at, start, count] of [[0, 1, 5], [2000, 1, 9], [4000, 2, 1], [6000, 2, 4]])
            history.add(at, parse(`process_start_time_seconds ${start}\nn_total ${count}\n`));
        const elsewhere = new History(), name = "tascel_http_requests_total";
        for (const [at, count] of [[0, 7], [2000, 1], [4000, 3]])
            elsewhere.add(at, parse(`${name} ${count}\n`));
        return [
            history.rates("n_total"), history.span, history.values("none"), elsewhere.rates(name),
        ];
    }"""
    assert page.evaluate(lives) == [[1.5], 2, [None, None], [1]]
    judge = "([on, off]) => import('/page/playground.js').then(m => m.judge(on, off))"
    on, off = {"text": "ab", "seconds": 1}, {"text": "ab", "seconds": 3}
    assert page.evaluate(judge, [on, off]) == "The same answer, 3.00 times sooner with drafts."
    assert page.evaluate(judge, [off, on]) == "The same answer, 3.00 times later with drafts."
    assert "from character 2 on" in page.evaluate(judge, [on, off | {"text": "a"}])
    quantile = "([b, p]) => import('/page/prometheus.js').then(m => m.quantile(b, p))"
    buckets = [[0.1, 0], [0.5, 4], [1, 8]]
    assert page.evaluate(quantile, [buckets, 0.5]) == pytest.approx(0.5)
    assert page.evaluate(quantile, [buckets, 0.75]) == pytest.approx(0.75)
    assert page.evaluate(quantile, [[[1, 0]], 0.5]) is None
