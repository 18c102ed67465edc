"""Pages in headless Chromium, as people see them. The environment's CHROMIUM names the program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import urlsplit

import pytest

#: Schemes that fetch nothing.
LOCAL = ("file", "data", "blob", "about")
#: Without a sandbox, which root has none of, and without a word to anyone.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip


class Watched:
    """What went wrong in a page: errors in its console, uncaught ones, requests to elsewhere.

    What a test provokes it lists, a part of each line, in `expected`.
    """

    def __init__(self, page: Any) -> None:
        self.wrong: list[str] = []
        self.expected: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        page.on("request", self._asked)

    @property
    def unexpected(self) -> list[str]:
        """What no test provoked."""
        return [line for line in self.wrong if not any(part in line for part in self.expected)]

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            where = message.location.get("url", "")
            self.wrong.append(f"{message.type}: {message.text} {where}")

    def _asked(self, request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in LOCAL and url.hostname not in ("127.0.0.1", "localhost", "::1"):
            self.wrong.append(f"asked for {request.url}")


@pytest.fixture(scope="session")
def browser() -> Generator[Any]:
    """Headless Chromium; a test that finds none fails, since `-m browser` asked for it."""
    from playwright.sync_api import sync_playwright

    named = os.environ.get("CHROMIUM", "chromium")
    program = shutil.which(named)
    assert program is not None, f"no {named!r} on PATH: install Chromium, or set CHROMIUM"
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Generator[Callable[..., Any]]:
    """`open_page(viewport={"width": 390, "height": 844}, color_scheme="dark")`: pages, each in a
    context of its own. The test fails if one said anything wrong that it did not expect."""
    pages: list[Any] = []

    def opened(**settings: Any) -> Any:
        context = browser.new_context(**settings)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.watched = Watched(page)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    wrong = [line for page in pages for line in page.watched.unexpected]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    """A page, 1200 wide, light, that fails the test on errors and on requests to elsewhere."""
    return open_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
