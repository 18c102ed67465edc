"""docs/formats.md names what a toy bundle, its answers, a price file and reports are made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pages import DOCS
from tascel import cli
from tascel.builder import build
from tascel.cache import cache_folder
from tascel.traces.read import read_traces
from tascel.traces.record import FIELDS

TEXT = (DOCS / "formats.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([\w./*-]+)`", TEXT))


def section(title: str) -> set[str]:
    """What is named under a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return set(re.findall(r"`([\w./*-]+)`", found[1]))


@pytest.fixture(scope="module")
def made(toy_folder, tmp_path_factory, two_tasks):
    """A folder with a bundle of two tasks, and what the verbs write of it."""
    folder = tmp_path_factory.mktemp("formats")
    patch = pytest.MonkeyPatch()
    patch.setenv("TASCEL_CACHE", str(folder / "cache"))
    build(two_tasks(60, labelled=True), toy_folder, folder / "bundle")
    traces = [{"prompt": f"light {i}", "output": "on", "task": "a", "group": "g"} for i in range(4)]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, traces)), encoding="utf-8")
    given = [str(folder / "bundle"), str(folder / "t.jsonl"), "--max-tokens", "8"]
    model = ["--model", str(toy_folder)]
    for verb, *more in (
        ["generate", *model, "-o", str(folder / "answers.jsonl")],
        ["bench", *model, "--json", str(folder / "bench.json"), "--against", "none"],
        ["replay", "--json", str(folder / "replay.json"), "--against", "prompt-lookup"],
    ):
        done = CliRunner().invoke(cli.app, [verb, *given, *more])
        assert done.exit_code == 0, done.output
    yield folder
    patch.undo()


def test_traces_in_the_docs_are_traces(tmp_path):
    block = re.search(r"```json\n(.*?)```", TEXT, flags=re.DOTALL)
    assert block is not None
    (tmp_path / "traces.jsonl").write_text(block[1], encoding="utf-8")
    first, second = read_traces(tmp_path / "traces.jsonl")
    assert (first.group, second.time) == ("t17", 1772352000.0)
    assert set(FIELDS) <= section("Traces")


def test_every_file_of_a_bundle_is_named(made):
    bundle = made / "bundle"
    kinds = {"all", "router", "tokenizer"}
    for file in bundle.rglob("*"):
        path = file.relative_to(bundle)
        if file.is_file() and path.parts[0] == "all":
            assert path.stem in NAMED, f"{path} is not in docs/formats.md"
        elif file.is_file():
            folder = re.sub(r"task-\d+", "task-000", path.parts[0])
            assert {str(path), f"{folder}/"} & NAMED, f"{path} is not in docs/formats.md"
            kinds.discard(path.parts[0])
    assert kinds == {"all"}


def test_every_key_of_the_manifest_is_named(made):
    manifest = json.loads((made / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest) <= section("A bundle")


def test_shapes_are_those_of_the_arrays(made):
    kinds = {"int32": "i32", "uint32": "u32", "uint16": "u16", "uint8": "u8", "float32": "f32"}
    for names, shapes in re.findall(r"^\| ((?:`[\w-]+`,? ?)+)\| (\w+\[.*?) \|", TEXT, re.MULTILINE):
        for name, kind in zip(
            re.findall(r"`([\w-]+)`", names), re.findall(r"(\w+)\[", shapes), strict=False
        ):
            array = np.load(made / "bundle" / "all" / f"{name}.npy", mmap_mode="r")
            assert kinds[str(array.dtype)] == kind, name
    with np.load(made / "bundle" / "records" / "000.npz") as records:
        assert set(records) <= section("A bundle")


def test_every_key_of_an_answer_is_named(made):
    for line in (made / "answers.jsonl").read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) <= section("Answers")


def test_every_key_of_a_price_file_is_named(made):
    (file, *_) = cache_folder("prices").glob("*.json")
    price = json.loads(file.read_text(encoding="utf-8"))
    assert {*price, *price["setting"]} <= section("A price file")


@pytest.mark.parametrize(("verb", "rows"), [("bench", "rows"), ("replay", "drafts")])
def test_reports_have_the_keys_that_are_named(made, verb, rows):
    """A report may have more; these it has."""
    report = json.loads(Path(made / f"{verb}.json").read_text(encoding="utf-8"))
    row = next(row for row in report[rows] if row["name"] != "tascel")
    table = TEXT[TEXT.index(f"The keys of `{verb}`") :].split("\n\n")[1]
    said = set(re.findall(r"`(\w+)`", table)) - {"rows", "drafts"}
    assert said
    assert said <= {*report, *row}
