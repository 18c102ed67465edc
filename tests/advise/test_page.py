"""docs/advise.md shows what was measured, and names the thresholds as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tascel.advise import engines, recommend

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "advise.md").read_text(encoding="utf-8")


def test_the_page_shows_what_was_measured():
    script, results = ROOT / "benchmarks" / "advising.py", ROOT / "results" / "advising.json"
    done = subprocess.run(
        [sys.executable, script, "--markdown", results], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in PAGE


def test_the_page_names_the_thresholds():
    page = " ".join(PAGE.split())
    assert f"{recommend.WORTH - 1:.0%} faster".replace("%", " %") in page
    assert f"get {recommend._FEWER} times shorter" in page
    assert (recommend._STEP, recommend._STEP_DRAFTED, recommend._STEEP) == (0.9, 0.6, 4.0)
    assert "reads a tenth less; with drafts, under which whole heads work little, 40 % less" in page
    assert "take four times as long as those of one" in page
    assert f"learned on {engines._TRUST_TRACES:,} traces" in page
