"""`tascel distill` as typed."""

from __future__ import annotations

import json

import pytest

from tascel.bundle import Bundle


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    path = tmp_path_factory.mktemp("distill") / "traces.jsonl"
    lines = [
        {"prompt": f"light {i}", "output": f'{{"on": {i % 7}}}', "split": split}
        for split, count in (("train", 24), ("valid", 8))
        for i in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.fixture
def built(tascel, toy_folder, traces, tmp_path):
    path = tmp_path / "bundle"
    assert tascel("build", traces, "-m", toy_folder, "-o", path)[0] == 0
    return path


def test_distill_judges_and_stores(tascel, toy_folder, traces, built, tmp_path):
    numbers = tmp_path / "distilled.json"
    code, out, _ = tascel(
        "distill", built, traces, "-m", toy_folder, "--layers", "1", "--steps", 2, "--tried", 4,
        "--rank", 2, "--traces-are-outputs", "--keep-all", "--json", numbers,
    )  # fmt: skip
    assert code == 0
    assert "4 held-out answers, 24 learned from" in out
    assert "has neural drafts now" in out
    found = json.loads(numbers.read_text())
    assert found["stored"]
    (task,) = found["tasks"]
    assert [way["name"] for way in task["ways"]] == [
        "none", "n-grams", "generic-1", "n-grams + generic-1",
    ]  # fmt: skip
    assert [made["layers"] for made in found["drafts"]] == [1]
    assert tascel("check", built)[0] == 0
    neural = Bundle.open(built).neural
    assert neural is not None
    assert len(neural.drafts) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--layers", "two"), "are no numbers"),
        (("--layers", "2"), "no draft can have 2 of 2 layers"),
        (("-m", "./nowhere"), "no tokenizer can be loaded"),
    ],
)
def test_distill_refuses_bad_input(tascel, toy_folder, traces, built, options, message):
    code, _, err = tascel("distill", built, traces, "-m", toy_folder, *options)
    assert code == 1
    assert message in err
    assert Bundle.open(built).neural is None
