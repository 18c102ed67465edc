"""A file of answers that a stopped run can go on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.answers import AnswerFile
from tascel.errors import TascelError
from tascel.types import Trace

SETTINGS = {"max_tokens": 5, "stop": ["é"]}


def prompt(number: int) -> Trace:
    return Trace(({"role": "user", "content": f"wörd {number}"},))


def add(file: AnswerFile, number: int) -> None:
    file.add(number, prompt(number), {"output": f"ans\nwer {number}"})


def test_lines_end_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.jsonl"
    file = AnswerFile(path, SETTINGS)
    for number in (2, 0, 1):
        add(file, number)
    assert not path.exists()
    file.finish()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"prompt": f"wörd {n}", "output": f"ans\nwer {n}"} for n in range(3)]
    assert [f.name for f in path.parent.iterdir()] == ["out.jsonl"]


@given(cut=st.integers(0, 400), order=st.permutations(range(6)))
def test_a_run_killed_anywhere_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int, order: list[int]
) -> None:
    path = tmp_path_factory.mktemp("killed") / "out.jsonl"
    first = AnswerFile(path, SETTINGS)
    for number in order[:4]:
        add(first, number)
    first.close()
    whole = first.partial.read_bytes()
    first.partial.write_bytes(whole[: len(whole) - cut] if cut < len(whole) else b"")
    second = AnswerFile(path, SETTINGS)
    done = [number for number in range(6) if second.has(number, prompt(number))]
    assert done == sorted(order[: len(done)])
    assert cut or len(done) == 4
    for number in range(6):
        if number not in done:
            add(second, number)
    second.finish()
    assert [json.loads(line)["prompt"] for line in path.read_text().splitlines()] == [
        f"wörd {n}" for n in range(6)
    ]


def test_another_runs_partial_file_is_kept_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    file = AnswerFile(path, SETTINGS)
    add(file, 0)
    file.close()
    before = file.partial.read_bytes()
    with pytest.raises(TascelError, match="begun with other settings"):
        AnswerFile(path, {"max_tokens": 6})
    again = AnswerFile(path, SETTINGS)
    with pytest.raises(TascelError, match="answers other prompts"):
        again.has(0, prompt(1))
    again.close()
    assert file.partial.read_bytes() == before
    lines = before.splitlines(keepends=True)
    file.partial.write_bytes(lines[0] + b'{"no": "number"}\n')
    with pytest.raises(TascelError, match="is damaged"):
        AnswerFile(path, SETTINGS)


@pytest.mark.parametrize("content", [b"one line", b'{"settings": 1', b"two\nlines"])
def test_a_file_of_somebody_else_is_kept(tmp_path: Path, content: bytes) -> None:
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(content)
    with pytest.raises(TascelError, match="other settings"):
        AnswerFile(tmp_path / "out.jsonl", SETTINGS)
    assert partial.read_bytes() == content


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first = AnswerFile(path, SETTINGS)
    first.add(0, prompt(0), {"error": "no room"})
    first.close()
    second = AnswerFile(path, SETTINGS)
    assert not second.has(0, prompt(0))
    add(second, 0)
    second.finish()
    assert [json.loads(line)["output"] for line in path.read_text().splitlines()] == ["ans\nwer 0"]


def test_a_system_turn_makes_another_prompt(tmp_path: Path) -> None:
    file = AnswerFile(tmp_path / "out.jsonl", SETTINGS)
    add(file, 0)
    other = Trace(({"role": "system", "content": "be brief"}, *prompt(0).messages))
    with pytest.raises(TascelError, match="answers other prompts"):
        file.has(0, other)
    file.close()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, Path(".")):
        with pytest.raises(TascelError, match="is no file"):
            AnswerFile(path, SETTINGS)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TascelError, match="cannot be written"):
        AnswerFile(tmp_path / "file" / "out.jsonl", SETTINGS)
