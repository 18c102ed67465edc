"""The verbs, as a user types them."""

from __future__ import annotations

import sys

import pytest

from tascel import cli


@pytest.fixture
def tascel(monkeypatch, tmp_path_factory, capsys):
    """`tascel("build", …)` gives (exit code, what was printed, what went to standard error)."""
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever main sets
    monkeypatch.setattr("warnings.showwarning", None)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["tascel", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return run
