"""What is said for which numbers: each step has its threshold, and words that name the number."""

from __future__ import annotations

import shlex
from copy import deepcopy

import pytest
from typer.main import get_command

from tascel import cli
from tascel.advise.commands import Asked
from tascel.advise.recommend import recommend
from tascel.engines.known import Known

LINE = {
    "engine": "hf", "model": "m", "dtype": "bfloat16", "device": "cpu", "threads": 2,
    "rounded": False, "drafts": True, "step_ms": 40.0, "reading_ms": 60.0, "plain_ms": 860.0,
    "drafted_ms": 160.0, "gain": 5.4, "interval": [5.0, 5.8], "tokens_per_pass": 8.0, "wide": 1.2,
    "accepted": {"corpus": 0.9}, "alike": None,
}  # fmt: skip
NO_DRAFTS = {"drafts": False, "drafted_ms": 850.0, "gain": 1.01, "tokens_per_pass": 1.02}
HEAD = {
    "model": {"rows": 49152}, "step": 0.8, "share": 0.2, "now_bytes": 56_600_000,
    "then_bytes": 3_400_000,
}  # fmt: skip
CONTENT = {
    "learned": 900, "replayed": 100, "refused": 0, "answer_tokens": 21.0,
    "lengths": {"answers": 900, "empty": 0.0, "one_token": 0.0},
    "repeated": {"distinct": 500, "runs": {"4": 0.9, "8": 0.7, "16": None}},
    "copied": {"words": {"1": 0.4, "2": 0.3}},
    "vocabulary": {"rows": 2941, "head": HEAD},
    "tokens": {"best": None},
    "tasks": [], "to_measure": [],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _all_installed(monkeypatch):
    monkeypatch.setattr(Known, "version", lambda self: "1")


def said(line=None, measured=True, asked=None, **content):
    line = LINE | (line or {})
    content = deepcopy(CONTENT) | content | {"foretold": line, "engines": [line] * measured}
    return recommend(content, asked or Asked("traces.jsonl", "m"))


def kinds(found):
    return [step["kind"] for step in found["steps"]]


def test_drafts_alone_where_answers_are_then_short():
    found = said(
        tokens={"best": {"rows": 250, "fewer": 4.0, "time": 0.25}}, line={"drafted_ms": 110.0}
    )
    assert (found["kind"], kinds(found)) == ("drafts", ["drafts"])
    assert "5.4 times as fast (95 %: 5.0 to 5.8)." in found["words"]
    assert found["cautions"] == []


def test_new_tokens_where_writing_still_takes_longer_than_reading():
    best = {"rows": 250, "fewer": 4.0, "time": 0.25}
    found = said(tokens={"best": best})
    assert kinds(found) == ["drafts", "new-tokens"]
    assert "250 new tokens would write held-out answers with 4.0 times fewer" in found["words"]
    assert kinds(said(tokens={"best": best | {"fewer": 1.4}})) == ["drafts"]


@pytest.mark.parametrize(
    ("drafts", "step", "advised"), [(True, 0.8, False), (True, 0.5, True), (False, 0.8, True),
                                    (False, 0.95, False)],
)  # fmt: skip
def test_a_tailored_head_where_it_is_much_of_a_step(drafts, step, advised):
    vocabulary = {"rows": 2941, "head": HEAD | {"step": step}}
    found = said({} if drafts else NO_DRAFTS, vocabulary=vocabulary)
    assert ("tailor" in kinds(found)) is advised
    if advised:
        assert "2,941 of 49,152 rows" in found["words"]
        assert f"reads {1 - step:.0%} less a step; on a GPU it frees 53 MB" in found["words"]
    assert found["kind"] == ("drafts" if drafts else "tailor" if advised else "nothing")


def test_drafts_that_do_not_pay_are_not_all_there_is():
    best = {"rows": 250, "fewer": 4.0, "time": 0.25}
    found = said(NO_DRAFTS, tokens={"best": best}, vocabulary={"rows": 1, "head": None})
    assert (found["kind"], kinds(found)) == ("new-tokens", ["why", "new-tokens"])
    assert found["words"].startswith("Drafts will not help you, because a pass would write only")


def test_reasons_have_numbers():
    bare = {"rows": 1, "head": None}
    few = said(NO_DRAFTS, vocabulary=bare)
    assert "only 1.02 tokens" in few["words"]
    assert "70% of what answers say stands in others" in few["words"]
    steep = said(NO_DRAFTS | {"wide": 6.0}, vocabulary=bare)
    assert "takes 6.0 times as long here" in steep["words"]
    short = said(NO_DRAFTS | {"plain_ms": 101.0, "drafted_ms": 100.0}, vocabulary=bare)
    assert "answer has 21.0 tokens" in short["words"]
    assert "99% of the time" in short["words"]
    empty = said(NO_DRAFTS | {"plain_ms": 60.0, "drafted_ms": 60.0}, vocabulary=bare)
    assert "100% of the time" in empty["words"]
    assert {found["kind"] for found in (few, steep, short)} == {"nothing"}


def test_one_answer_is_not_the_same_as_another():
    repeated = {"distinct": 1, "runs": {}}
    lengths = {"answers": 2, "empty": 0.0, "one_token": 0.0}
    assert "All answers are the same" in said(repeated=repeated, lengths=lengths)["cautions"][0]
    assert said(repeated=repeated, lengths=lengths | {"answers": 1})["cautions"] == []


def test_a_gain_that_is_not_sure_is_called_so():
    found = said({"interval": [0.9, 7.0]})
    assert "not sure" in found["cautions"][0]


def test_known_groups_and_new_ones_are_told_apart():
    alike = {"gain": 9.0, "interval": [8.5, 9.5], "plain_ms": 900.0, "drafted_ms": 100.0}
    found = said({"alike": alike})
    assert (
        "(95 %: 5.0 to 5.8) for groups of requests that were never seen and 9.0 times (8.5 to 9.5)"
        " for those of the traces." in found["words"]
    )
    assert said(NO_DRAFTS | {"alike": alike})["kind"] == "drafts"


def test_every_command_can_be_typed():
    best = {"rows": 250, "fewer": 4.0, "time": 0.25}
    head = {"rows": 2941, "head": HEAD | {"step": 0.5}}
    to_measure = [{"engine": "hf", "model": "m", "do": "tascel profile --model m"}]
    found = said(
        measured=False, tokens={"best": best}, vocabulary=head, to_measure=to_measure,
        asked=Asked("my traces.jsonl", "m", adapter="a"),
    )  # fmt: skip
    verbs = [shlex.split(command)[1] for command in found["commands"]]
    assert verbs == ["profile", "build", "serve", "finetune", "tailor"]
    for command in found["commands"]:
        _, verb, *rest = shlex.split(command)
        get_command(cli.app).commands[verb].make_context(verb, rest)


def test_an_export_is_served_by_its_engine_and_not_trained():
    found = said(
        measured=False, tokens={"best": {"rows": 9, "fewer": 4.0, "time": 0.2}},
        asked=Asked("t", "ov", published=False),
    )  # fmt: skip
    assert found["commands"][-1] == "tascel serve bundle --model ov --engine openvino"
    assert kinds(found) == ["install", "drafts", "new-tokens"]
