"""The page fixture hears what goes wrong."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("body", "heard"),
    [
        ("<script>console.error('broken')</script>", "error: broken"),
        ("<script>throw Error('thrown')</script>", "uncaught: thrown"),
        ("<img src='http://192.0.2.1/a.png' alt=''>", "asked for http://192.0.2.1/a.png"),
    ],
)
def test_what_goes_wrong_is_heard(page, tmp_path, body, heard):
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><title>A page</title>{body}")
    page.goto(file.as_uri(), wait_until="commit")
    page.wait_for_timeout(100)
    assert any(heard in line for line in page.watched.wrong)
    page.watched.expected += page.watched.wrong
