"""What the verbs show: tables that fit a terminal, answers that do not run together."""

from __future__ import annotations

import pytest
from rich.console import Console

from tascel.cli.console import progress, rows_table
from tascel.cli.demo import View
from tascel.types import Chunk, Trace

ROW = {
    "name": "prompt-lookup",
    "tokens_per_second": 1234.5,
    "speedup": 12.34,
    "speedup_total": 11.11,
    "interval": [10.12, 12.34],
    "tokens_per_step": 10.3,
    "drafted_share": 1.0,
    "identical": False,
    "mismatches": 99,
}


def shown(what) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_a_table_fits_80_columns():
    text = shown(rows_table([ROW], "two prompts"))
    assert "…" not in text
    assert len(text.strip().splitlines()) == 4  # title, heads, line, row
    for word in ("tok/s", "speed-up", "10.12–12.34", "no (99)"):
        assert word in text


def test_a_log_hears_when_a_stage_begins(capsys):
    with progress() as show:
        show("measuring", 0, 2)
        begun = capsys.readouterr().err
        show("measuring", 1, 2)
        assert "measuring …" not in capsys.readouterr().err
    assert begun == "measuring …\n"


@pytest.fixture
def view():
    return View([Trace(({"role": "user", "content": "hi"},))])


def test_a_new_answer_begins_afresh(view):
    for _ in range(2):  # as in the warm-up
        for step, text in enumerate(("a", "b", "c")):
            view.watch("none", Chunk(1, text, "model", step))
        for step, text in ((0, "x"), (0, "y"), (1, "z")):
            view.watch("tascel", Chunk(1, text, "corpus", step))
    text = shown(view)
    assert "abc" in text
    assert "xyz" in text
    assert "abcabc" not in text
    assert "xyzxyz" not in text
