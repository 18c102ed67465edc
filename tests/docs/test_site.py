"""The site: it builds without a warning, and everything that its pages need is in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

from pages import DOCS, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_all_links_stay_inside_or_are_only_followed(site):
    """Links to elsewhere are for readers; nothing that a page is made of comes from there."""
    for file in site.rglob("*.html"):
        html = file.read_text(encoding="utf-8")
        made_of = re.findall(r"<(?:script|img|link)\b[^>]*\b(?:src|href)=\"?([^\" >]+)", html)
        for target in [*made_of, *re.findall(r"<a\b[^>]*\bhref=\"?([^\" >]+)", html)]:
            url = urlsplit(target)
            if url.scheme:
                assert target not in made_of, f"{file.name}: {target}"
            elif url.path:
                found = file.parent / unquote(url.path)
                assert file.name == "404.html" or found.exists(), f"{file}: {target}"
    for file in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", file.read_text(encoding="utf-8")), file


def test_what_lies_beside_the_docs_comes_along(site):
    assert (site / "tree/results/replay.json").read_bytes() == (
        ROOT / "results/replay.json"
    ).read_bytes()
    assert "replay.json" in (site / "tree/results/index.html").read_text(encoding="utf-8")
    assert (site / "tree/LOG.html").is_file()
    learn = (site / "learn.html").read_text(encoding="utf-8")
    assert "tree/results/drift.png" in learn


def test_the_api_is_there(site):
    import tascel

    pages = [site / "api" / f"{name}.html" for name in ("index", "types", "runner")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for name in tascel.__all__:
        assert re.search(rf'id="?tascel(\.\w+)*\.{name}"?[ >]', text), name


def test_every_module_says_what_it_knows(site):
    page = (site / "modules.html").read_text(encoding="utf-8")
    rows = dict(re.findall(r"<td><code>(\w+)</code></td>\s*<td>(.*?)</td>", page))
    modules = {path.stem for path in (ROOT / "src/tascel").rglob("*.py") if path.stem[:2] != "__"}
    assert modules == set(rows)
    assert all(rows.values())


def test_a_broken_link_is_an_error(tmp_path):
    for name in ("mkdocs.yml", "src", "results", "benchmarks", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    for file in ROOT.glob("*.md"):
        (tmp_path / file.name).symlink_to(file)
    shutil.copytree(DOCS, tmp_path / "docs")
    with (tmp_path / "docs" / "parts.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](../results/nowhere.json)\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "nowhere.json" in done.stderr


@pytest.fixture(scope="module")
def url(site):
    """The site on a server of its own, which says nothing."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_its_colours(url, open_page, scheme):
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for name in ("index", "first-steps", "draft", "cli", "api/runner", "formats"):
        page.goto(f"{url}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        dark = page.evaluate("document.body.dataset.mdColorScheme") == "slate"
        assert dark == (scheme == "dark")


@pytest.mark.browser
def test_the_site_can_be_searched(url, page):
    page.set_default_timeout(60_000)  # its index is read first
    page.goto(f"{url}/index.html")
    page.locator(".md-search__input").fill("templates slots frozen")
    page.locator(".md-search-result__link", has_text="Templates and slots").first.click()
    page.wait_for_url("**/draft.html*")
