"""Links out of docs/ work in the site, too: what they lead to comes along under tree/.

In the repository `../results/replay.json` is a file beside docs/. The site has nothing beside
itself, so each file that a page links to becomes one of the site (Markdown a page, a folder a list
of its files), and links are turned to where it lies there. Pages stay what a code host shows.
"""

from __future__ import annotations

import posixpath
import re
from functools import partial
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(\]\()([^()\s#:]+)(#[^()\s]*)?(?=\))")
ROOT = Path(__file__).parents[2]
#: What the navigation names though no page need link to it.
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "LOG.md", "benchmarks/README.md", "results")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside docs/, and what that links to."""
    wanted = list(ALWAYS)
    for file in files.documentation_pages():
        wanted += _targets(f"docs/{file.src_uri}", file.content_string)
    taken: set[str] = set()
    while wanted:
        path = wanted.pop()
        if path in taken or path.startswith("docs/"):
            continue
        taken.add(path)
        uri, text = _uri(path), _text(path)
        if text is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        else:
            files.append(File.generated(config, uri, content=text))
            wanted += _targets(_path(uri), text)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to where things lie in the site."""
    return LINK.sub(partial(_turned, page.file.src_uri), markdown)


def _turned(uri: str, link: re.Match[str]) -> str:
    """The link in the page at `uri`, as it has to be there."""
    target = _resolved(_path(uri), link[2])
    if target is None:
        return link[0]
    return link[1] + posixpath.relpath(_uri(target), posixpath.dirname(uri)) + (link[3] or "")


def _targets(path: str, text: str) -> list[str]:
    """The repository's paths that the text at `path` links to."""
    found = (_resolved(path, link[2]) for link in LINK.finditer(text))
    return [target for target in found if target is not None]


def _resolved(path: str, link: str) -> str | None:
    """Where a link in the file at `path` leads, None if to nothing that is ours."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    known = not target.startswith("..") and (ROOT / target).exists()
    return target if known else None


def _uri(path: str) -> str:
    """Where the site keeps a path of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"tree/{path}/index.md" if (ROOT / path).is_dir() else f"tree/{path}"


def _path(uri: str) -> str:
    """The opposite; a folder's list counts as a file in it."""
    return uri.removeprefix("tree/") if uri.startswith("tree/") else f"docs/{uri}"


def _text(path: str) -> str | None:
    """What the page of a path says; None if it is a file that the site only carries."""
    if path.endswith(".md"):
        return (ROOT / path).read_text(encoding="utf-8")
    if not (ROOT / path).is_dir():
        return None
    names = sorted(file.name for file in (ROOT / path).iterdir() if file.is_file())
    return "\n".join([f"# {path}/", "", *(f"- [{name}]({name})" for name in names), ""])
