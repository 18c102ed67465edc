"""docs/serve.md: its examples run, and its tables leave nothing out."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command

from tascel.cli import app
from tascel.serve.metrics import Metrics
from tascel.serve.schema import ChatRequest, Extras, TextRequest

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def url(served_runner, living):
    with living(served_runner, name="my-model") as server:
        yield server.url


def test_python_can_be_followed(url):
    names = {}
    for block in blocks("python"):
        here = block.replace("http://127.0.0.1:8000", url)
        exec(compile(here, "serve.md", "exec"), names)
    names["client"].close()


def test_commands_can_be_followed(url):
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    asked = [command for command in commands if command.startswith("curl")]
    assert len(asked) == 4
    for command in asked:
        here = shlex.split(command.replace("http://127.0.0.1:8000", url))
        said = subprocess.run([*here, "--fail-with-body"], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout
        assert '"object":' in said.stdout or '"status":' in said.stdout or "tascel_" in said.stdout
    serving = next(command for command in commands if command.startswith("tascel serve"))
    verb = get_command(app).commands["serve"]
    assert verb.make_context("serve", shlex.split(serving)[2:]).params["port"] == 8000


def test_every_option_is_named():
    options = {
        name
        for parameter in get_command(app).commands["serve"].params
        for name in parameter.opts
        if name.startswith("--") and name != "--help"
    }
    assert options <= set(re.findall(r"--[a-z-]+", PAGE))


def test_every_field_is_named():
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert {*ChatRequest.model_fields, *TextRequest.model_fields} <= named
    assert set(Extras.model_fields) <= set(re.findall(r'`\{"([a-z]+)":', PAGE))


def test_every_metric_is_named():
    families = text_string_to_metric_families(Metrics().text().decode())
    ours = {f.name + "_total" * (f.type == "counter") for f in families}
    named = {*re.findall(r"`(tascel_[a-z_]+)`", PAGE), "tascel_running", "tascel_waiting"}
    told = {n for n in ours if n.startswith("tascel_") and not n.endswith("_created")}
    assert told <= named


def test_every_status_is_named():
    sources = (Path(__file__).parents[2] / "src/tascel/serve").glob("*.py")
    raised = {
        status for path in sources for status in re.findall(r"ApiError\(\s*(\d+)", path.read_text())
    }
    assert raised <= set(re.findall(r"\b\d{3}\b", PAGE))
