"""Links lead somewhere, and tables of measurements are those of results/."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pages import DOCS, ROOT, Page, written_pages


def test_links_lead_somewhere():
    for page in [*written_pages(), Page(DOCS / "cli.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.text):
            assert (page.path.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize(
    ("page", "which"),
    [
        ("README.md", ()),
        ("README.md", ("batches",)),
        ("README.md", ("replay",)),
        ("docs/draft.md", ("all",)),
        ("docs/new-tokens.md", ("tokens",)),
        ("docs/tailor.md", ("tailored",)),
        ("docs/tailor.md", ("corners",)),
        ("docs/vllm.md", ("vllm",)),
        ("docs/bridge.md", ("bridge",)),
        ("docs/neural.md", ("neural",)),
        ("docs/openvino.md", ("engines",)),
        ("docs/openvino.md", ("again",)),
    ],
)
def test_pages_show_what_was_measured(page, which):
    script = ROOT / "benchmarks" / "table.py"
    done = subprocess.run([sys.executable, script, *which], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() in (ROOT / page).read_text(encoding="utf-8")
