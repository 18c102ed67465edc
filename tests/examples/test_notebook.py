"""The notebook runs from top to bottom on a toy, and holds nothing of an earlier run."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "tour.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def run(notebook, folder):
    """What its cells print and show as text, and the types of what they show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output.get("data", {}) for output in outputs]
    printed = [output.get("text", "") for output in outputs]
    text = "".join([*printed, *(data.get("text/plain", "") for data in shown)])
    return re.sub(r"\x1b\[[0-9;]*m", "", text), {kind for data in shown for kind in data}


def test_it_holds_no_output(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_it_runs_on_a_toy(notebook, toy_folder, lamp_traces, tmp_path):
    (given,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    given.source = (
        f"import sys\nmodel, adapter, traces = {str(toy_folder)!r}, None, {str(lamp_traces)!r}\n"
        "split, answered = 'test', 3"
    )
    printed, shown = run(notebook, tmp_path)
    assert "40 traces" in printed
    assert "tascel profile" in printed  # advise: nothing was measured here yet
    assert printed.count("the same answers") == 3
    assert "image/png" in shown
    assert (tmp_path / "build" / "tour" / "manifest.json").exists()


@pytest.mark.real
def test_it_runs_on_the_demos_model(notebook, tmp_path):
    printed, shown = run(notebook, tmp_path)
    assert "Hass" in printed  # an intent of the task
    assert "image/png" in shown
