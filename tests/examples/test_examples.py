"""The examples run on a toy, and one on the demo's model, which all come by in the same way."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "given")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """`run(name, *arguments)` runs an example and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    def _run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    yield _run
    sys.modules.pop("given", None)


@pytest.fixture
def mine(toy_folder, lamp_traces):
    """Arguments: a toy and its traces."""
    return ("--model", toy_folder, "--traces", lamp_traces)


def test_there_are_five_of_about_thirty_lines():
    assert len(EXAMPLES) == 5
    for name in EXAMPLES:
        assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 45


def test_readme_lists_what_is_there():
    listed = re.findall(r"^\| \[(\S+)\]", (FOLDER / "README.md").read_text(), flags=re.MULTILINE)
    assert {name for name in listed if name.endswith(".py")} == {f"{n}.py" for n in EXAMPLES}
    assert all((FOLDER / name).exists() for name in listed)


def test_stream_colours_what_the_runner_answers(run, mine, toy_folder):
    import tascel

    shown = run("stream", *mine)
    assert Path("build/examples/lamps/manifest.json").exists()
    with tascel.load(None, model=toy_folder) as runner:
        plain = runner.generate("light 40", max_tokens=64).text
    assert "".join(plain.split()) in "".join(shown.split())


def test_would_it_pay_counts_the_held_out_answers(run, mine):
    shown = run("would_it_pay", *mine)
    assert shown.startswith("10 answers of test")
    (rate,) = re.findall(r"tascel +(\S+) times as fast", shown)
    assert float(rate) > 1.5  # answers that are in train


def test_in_transformers_the_ids_are_the_same(run, mine):
    shown = run("in_transformers", *mine)
    assert shown.count("the same ids") == 5
    assert "NOT" not in shown


def test_the_client_is_told_what_answers_cost(run, mine):
    shown = run("openai_client", *mine, "--bundle", "served")
    counts = re.findall(r"(\d+) tokens in (\d+) passes", shown)
    assert len(counts) == 5
    assert all(int(tokens) >= int(passes) > 0 for tokens, passes in counts)


def test_what_was_learned_online_saves_passes(run, mine, monkeypatch):
    import tascel.loading
    from tascel.draft.price import typical

    monkeypatch.setattr(tascel.loading, "price_of", lambda *_, **__: typical())
    counts = re.findall(r"(\d+) tokens in (\d+) passes", run("learn_online", *mine))
    assert len({tokens for tokens, _ in counts}) == 1
    first, *later = (int(passes) for _, passes in counts)
    assert min(later) < first


def test_model_and_traces_come_together(run, mine, capsys):
    with pytest.raises(SystemExit):
        run("stream", *mine[:2])
    assert "give --model and --traces" in capsys.readouterr().err


@pytest.mark.real
def test_without_arguments_they_take_the_demos_model(run):
    assert "Hass" in run("stream")  # an intent of the task
