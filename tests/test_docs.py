"""The commands and the Python of docs/usage.md, run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from tascel import cli

DOCS = Path(__file__).parents[1] / "docs"


def blocks(language: str) -> list[str]:
    text = (DOCS / "usage.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_usage_can_be_followed(toy_folder, tmp_path, monkeypatch):
    shutil.copytree(toy_folder, tmp_path / "my-model")
    lines = [{"prompt": f"light {i}", "output": f'{{"on": {i % 3}}}'} for i in range(30)]
    (tmp_path / "traces.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("warnings.showwarning", None)
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert len(commands) >= 7
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as end:
            cli.main()
        # nothing may pay on a toy, and then verify proves nothing
        assert end.value.code in ((0, None, 1) if "verify" in command else (0, None)), command
    assert json.loads(Path("bench.json").read_text())["examples"] == 4
    python = blocks("python")
    assert python
    for block in python:
        exec(compile(block, "usage.md", "exec"), {})


def test_traces_in_the_docs_are_traces(tmp_path):
    from tascel.traces.read import read_traces

    (tmp_path / "traces.jsonl").write_text(blocks("json")[0], encoding="utf-8")
    assert len(list(read_traces(tmp_path / "traces.jsonl"))) == 2


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("learn", {"generate", "serve", "learn", "merge", "forget"}),
        ("openvino", {"export", "generate", "serve", "bench", "profile"}),
    ],
)
def test_commands_that_are_not_run_can_be_typed(name, known):
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    verbs = get_command(cli.app).commands
    typed = [shlex.split(line)[1:] for line in block.splitlines()]
    assert {verb for verb, *_ in typed} == known
    for verb, *rest in typed:
        verbs[verb].make_context(verb, rest)


def test_links_lead_somewhere():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


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
    root = DOCS.parent
    script = root / "benchmarks" / "table.py"
    done = subprocess.run([sys.executable, script, *which], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.strip() in (root / page).read_text(encoding="utf-8")
