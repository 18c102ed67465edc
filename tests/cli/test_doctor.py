"""`tascel doctor` prints a table and fails when something is broken."""

import pytest
from typer.testing import CliRunner

from tascel import doctor
from tascel.cli import app
from tascel.doctor import Finding


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("missing", 0), ("broken", 1)])
def test_exit_code_and_table(monkeypatch, state, code):
    findings = [Finding("Python", "3.11"), Finding("torch", "2.0", state, "pip install 'x[hf]'")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == code
    assert state in result.stdout
    assert "x[hf]" in result.stdout
