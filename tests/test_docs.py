"""Links lead somewhere, and tables of measurements are those of results/."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from typer.main import get_command

from pages import DOCS, ROOT, Page, written_pages
from tascel import cli


def test_links_lead_somewhere():
    for page in [*written_pages(), Page(DOCS / "cli.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.text):
            assert (page.path.parent / target).exists(), f"{page}: {target}"


def test_every_verb_is_introduced():
    page = (DOCS / "usage.md").read_text(encoding="utf-8")
    table = page[page.index("| verb |") : page.index("## ")]
    assert set(get_command(cli.app).commands) == set(re.findall(r"`(\w+)`", table))


@pytest.mark.parametrize(
    ("page", "which"),
    [
        ("README.md", ("short",)),
        ("docs/numbers.md", ()),
        ("docs/numbers.md", ("batches",)),
        ("docs/numbers.md", ("replay",)),
        ("docs/draft.md", ("all",)),
        ("docs/new-tokens.md", ("tokens",)),
        ("docs/tailor.md", ("tailored",)),
        ("docs/tailor.md", ("corners",)),
        ("docs/vllm.md", ("vllm",)),
        ("docs/bridge.md", ("bridge",)),
        ("docs/neural.md", ("neural",)),
        ("docs/openvino.md", ("engines",)),
        ("docs/openvino.md", ("again",)),
        ("docs/llamacpp.md", ("saved",)),
    ],
)
def test_pages_show_what_was_measured(page, which):
    script = ROOT / "benchmarks" / "table.py"
    done = subprocess.run([sys.executable, script, *which], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() in (ROOT / page).read_text(encoding="utf-8")


def test_the_first_page_shows_what_was_measured():
    """Its table is a part of README's."""
    rows = json.loads((ROOT / "results/home_assistant_bf16.json").read_text())["rows"]
    named = {row["name"]: row for row in rows}
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    for title, name in (
        ("plain decoding", "none"),
        ("transformers' prompt lookup", "prompt-lookup"),
        ("**tascel**", "tascel"),
    ):
        row = named[name]
        rate, times = f"{row['tokens_per_second']:.1f}", (row["speedup_total"], row["speedup"])
        shown = [title, rate, *(f"{one:.2f}×" for one in times), f"{row['tokens_per_step']:.2f}"]
        same = "yes" if row["identical"] else "no"
        assert f"| {' | '.join(shown)} | {same} |" in page


def test_the_architecture_names_every_package_and_layer():
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    layers = page[page.index("## Layers") : page.index("## Tree")]
    tree = page[page.index("## Tree") : page.index("## Three rules")]
    for path in (ROOT / "src" / "tascel").iterdir():
        if path.suffix == ".py" and path.stem[:2] != "__":
            assert path.name in tree, path.name
        elif path.is_dir() and path.stem[:2] != "__":
            assert f"  {path.name}/" in tree, path.name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for line in project["tool"]["importlinter"]["contracts"][0]["layers"]:
        for layer in line.split("|"):
            assert f"`{layer.strip(' ()')}`" in layers, layer


def test_parts_and_engines_begin_with_what_when_how_limits_and_numbers():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    sections = {title: pages for section in nav for title, pages in section.items()}
    for pages in (sections["Parts"][1:], sections["Engines"][1:]):  # behind their overview
        assert len(pages) > 4
        for ((_, name),) in (page.items() for page in pages):
            text = (DOCS / name).read_text(encoding="utf-8")
            said = re.findall(r"^(?:\| |\*\*)(what|when|how|limits|numbers)\b", text, re.I | re.M)
            assert sorted({word.lower() for word in said}) == [
                "how", "limits", "numbers", "what", "when"
            ], name  # fmt: skip
