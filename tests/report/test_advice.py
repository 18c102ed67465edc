"""The page of `advise`, of what its JSON may hold."""

from __future__ import annotations

import pytest

from tascel.report import advice, page

LINE = {
    "engine": "hf", "model": "/models/small", "dtype": "bfloat16", "device": "cpu", "threads": 2,
    "drafted_ms": 250.0, "plain_ms": 1500.0, "gain": 6.0, "interval": [5.5, 6.5],
    "tokens_per_pass": 12.0, "alike": None,
}  # fmt: skip
PAIRS = {"bits_in": 12.0, "bits_out": 7.0}


@pytest.fixture
def content():
    """As `tascel advise --json` writes it where nothing was measured and little can be told."""
    return {
        "read": 60, "answered": 50, "learned": 40, "replayed": 10,
        "lengths": {
            "answers": 40, "mean": 3.0, "longest": 9,
            "histogram": {"edges": [0, 5, 10], "counts": [30, 10]},
        },
        "repeated": {"verbatim": 0.5, "known": 0.25, "runs": {"4": 0.75, "16": None}},
        "copied": {"tokens": {"2": 0.1}, "words": {"1": 0.2}},
        "entropy": PAIRS | {
            "task": "yours", "renyi2": 4.0, "like": "tags", "paper": [PAIRS | {"task": "tags"}]
        },
        "vocabulary": {"size": 500, "written": 40, "rows": 60, "covered": 0.9, "head": None},
        "tokens": {"curve": [], "best": None, "note": "too few answers"},
        "tasks": [], "engines": [], "foretold": LINE, "to_measure": [], "absent": [],
        "recommendation": {
            "kind": "nothing",
            "steps": [
                {
                    "kind": "measure",
                    "words": "Measure first.",
                    "commands": ["tascel profile --model small"],
                }
            ],
            "cautions": ["Collect more."],
        },
    }  # fmt: skip


def test_little_is_told_where_little_is_known(content):
    made = advice.advise(content)
    assert made.lead == "Measure first."
    assert [*made.steps] == [("", ["tascel profile --model small"])]
    assert [*made.notes] == ["Collect more.", "too few answers"]
    assert [chart.name for chart in made.charts] == ["lengths", "entropy"]
    (row,) = made.tables[0].rows
    assert row == [
        "passes of SmolLM2-135M, 2 CPU cores",
        "250",
        "1,500",
        "6.00×",
        "5.50–6.50",
        "12.0",
    ]
    assert len(made.tables[0].heads) == len(row)
    facts = dict(made.tables[1].rows)
    assert facts["runs of 4 tokens that stand in another answer"] == "75%"
    assert "runs of 16 tokens that stand in another answer" not in facts


def test_all_is_told_where_it_is_known(content):
    content["engines"] = [LINE | {"alike": {"gain": 9.0}}, LINE | {"engine": "vllm", "alike": None}]
    content["tokens"] = {
        "curve": [
            {"rows": 0, "tokens": 100, "time": 1.0}, {"rows": 8, "tokens": 50, "time": 0.6}
        ],
        "best": {"rows": 8, "fewer": 2.0}, "note": None,
    }  # fmt: skip
    content["vocabulary"]["head"] = {"total_bytes": 1e9, "now_bytes": 2e8, "then_bytes": 1e6}
    content["tasks"] = [
        {
            "name": "lamps",
            "traces": 20,
            "share": 0.5,
            "answer_tokens": 3.0,
            "own": 2.0,
            "pooled": 1.5,
        }
    ]
    content["to_measure"] = [{"engine": "openvino", "model": "m", "do": "tascel profile"}]
    made = advice.advise(content)
    assert [chart.name for chart in made.charts] == [
        "lengths", "entropy", "engines", "token_budget", "head_memory"
    ]  # fmt: skip
    engines = made.tables[0]
    assert engines.heads[-1] == "gain, known groups"
    assert [row[-1] for row in engines.rows] == ["9.00×", ""]
    text = page.render(made)
    for said in ("lamps", "Not measured: openvino with m", "2.0 times fewer", "PyTorch, small"):
        assert said in text


def test_engines_that_are_left_out_are_counted(content):
    content["engines"] = [LINE] * 9
    (chart,) = (c for c in advice.advise(content).charts if c.name == "engines")
    assert chart.note.endswith("The quickest 8 of 9.")


def test_the_page_begins_with_what_helps_most(content):
    content["recommendation"]["kind"] = "drafts"
    first = content["recommendation"]["steps"][0]
    build = {"kind": "drafts", "words": "Run `tascel <build>`.", "commands": ["tascel build"]}
    content["recommendation"]["steps"] = [first, build]
    made = advice.advise(content)
    assert made.lead == build["words"]
    assert [words for words, _ in made.steps] == ["Measure first.", build["words"]]
    text = page.render(made)
    assert text.count("Run <code>tascel &lt;build&gt;</code>.") == 2

    content["recommendation"]["steps"] = [build, first]
    made = advice.advise(content)
    assert made.lead == build["words"]
    assert [words for words, _ in made.steps] == ["", "Measure first."]  # no word twice
