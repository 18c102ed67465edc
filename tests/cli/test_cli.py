"""The verbs, as a user types them, on a toy model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tascel import cli
from tascel.answers import AnswerFile

VERBS = [
    "demo", "build", "learn", "merge", "forget", "generate", "serve", "bench", "replay", "verify",
    "profile", "check", "tasks", "assets", "mine", "finetune", "tailor", "distill", "export",
    "advise", "doctor", "bridge",
]  # fmt: skip


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    file = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    lines = [
        {"prompt": f"light {i} in the den", "output": f'{{"on": "den {i % 3}"}}', "split": split}
        for i in range(30)
        for split in ("train", "test")
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture
def bundle(tascel, toy_folder, traces, tmp_path):
    code, out, _ = tascel("build", traces, "--model", toy_folder, "-o", tmp_path / "bundle")
    assert code == 0
    assert "30 outputs" in out
    return tmp_path / "bundle"


def test_help_names_every_verb_and_loads_nothing_heavy():
    code = "import sys, tascel.cli; print([m for m in ('torch','numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    verbs = [*cli.app.registered_commands, *cli.app.registered_groups]
    assert [verb.name for verb in verbs] == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(tascel, verb):
    code, out, _ = tascel(verb, "--help")
    assert code == 0
    assert "Usage" in out


def test_the_main_verbs_in_a_row(tascel, bundle, toy_folder, traces, tmp_path):
    code, out, _ = tascel("check", bundle)
    assert code == 0
    assert "as written" in out

    answers = tmp_path / "answers.jsonl"
    code, _, err = tascel(
        "generate", bundle, traces, "-m", toy_folder, "-o", answers, "--limit", 3,
        "--max-tokens", 12,
    )  # fmt: skip
    assert code == 0
    assert "a step" in err
    records = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert len(records) == 3
    assert {"prompt", "output", "finish_reason", "tokens", "steps", "drafted"} <= set(records[0])

    numbers = tmp_path / "bench.json"
    code, out, _ = tascel(
        "bench", bundle, traces, "-m", toy_folder, "--limit", 3, "--max-tokens", 12,
        "--json", numbers, "--against", "none,prompt-lookup,no-slots,tasc-paper",
    )  # fmt: skip
    assert code == 0
    assert "speed-up" in out
    rows = json.loads(numbers.read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == [
        "none", "prompt-lookup", "no-slots", "tasc-paper", "tascel",
    ]  # fmt: skip
    assert all(row["identical"] for row in rows)

    code, out, _ = tascel("profile", "-m", toy_folder)
    assert code == 0
    assert "kept in" in out


def test_a_prompt_that_is_too_long_does_not_stop_the_others(tascel, bundle, toy_folder, tmp_path):
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    lines = [{"prompt": "a"}, {"prompt": "long " * 300}, {"prompt": "b"}]
    prompts.write_text("\n".join(map(json.dumps, lines)))
    code, _, err = tascel(
        "generate", bundle, prompts, "-m", toy_folder, "-o", answers, "--max-tokens", 4
    )
    assert code == 1
    assert "prompt 2" in err
    records = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert ["output" in r for r in records] == [True, False, True]
    assert "context" in records[1]["error"]


def test_a_stopped_run_goes_on(tascel, bundle, toy_folder, traces, tmp_path, monkeypatch):
    def run(name, *more):
        return tascel(
            "generate", bundle, traces, "-m", toy_folder, "-o", tmp_path / name, "--limit", 6,
            "--max-tokens", 8, "--rows", 2, *more,
        )  # fmt: skip

    assert run("whole")[0] == 0
    add, added = AnswerFile.add, []

    def stopped(self, *args):
        add(self, *args)
        added.append(args[0])
        if len(added) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AnswerFile, "add", stopped)
        assert run("parts")[0] == 130
    assert not (tmp_path / "parts").exists()
    code, _, err = run("parts", "--seed", 4)
    assert code == 1
    assert "begun with other settings" in err
    code, _, err = run("parts")
    assert code == 0
    assert "3 answers are there already" in err
    whole, parts = (
        [json.loads(line)["ids"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("whole", "parts")
    )
    assert whole == parts
    assert not (tmp_path / "parts.partial").exists()


def test_batches_are_compared(tascel, bundle, toy_folder, traces, tmp_path):
    code, out, _ = tascel(
        "bench", bundle, traces, "-m", toy_folder, "--limit", 5, "--max-tokens", 8, "--rows", 3,
        "--repeats", 2, "--against", "transformers", "--json", tmp_path / "batches.json",
    )  # fmt: skip
    assert code == 0
    assert "5 prompts, 3 at a time" in out
    content = json.loads((tmp_path / "batches.json").read_text(encoding="utf-8"))
    assert content["rows_at_once"] == 3
    assert [row["name"] for row in content["rows"]] == ["none", "transformers", "tascel"]


def test_answers_can_be_made_to_look_like_something(tascel, bundle, toy_folder, traces, tmp_path):
    def run(*form):
        out = tmp_path / "formed.jsonl"
        code, _, err = tascel(
            "generate", bundle, traces, "-m", toy_folder, "-o", out, "--limit", 3,
            "--max-tokens", 40, *form,
        )  # fmt: skip
        return code, err, out

    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"on": {"type": "boolean"}},'
                      ' "required": ["on"], "additionalProperties": false}')  # fmt: skip
    code, err, out = run("--json-schema", schema)
    assert code == 0
    assert "grammar" in err
    outputs = [json.loads(line)["output"] for line in out.read_text().splitlines()]
    assert [type(json.loads(output)["on"]) for output in outputs] == [bool] * 3
    code, _, out = run("--regex", "ab|cd")
    assert code == 0
    assert {json.loads(line)["output"] for line in out.read_text().splitlines()} <= {"ab", "cd"}
    schema.write_text('{"type": "no such type"}')
    for form, words in (
        (("--json-object", "--regex", "a"), "exclude each other"),
        (("--json-schema", tmp_path / "absent"), "cannot be read"),
        (("--json-schema", schema), "JSON schema cannot be used"),
    ):
        code, err, _ = run(*form)
        assert code == 1
        assert words in err


def test_generate_prints_to_the_terminal(tascel, bundle, toy_folder):
    code, out, err = tascel(
        "generate", bundle, "-m", toy_folder, "-p", "light", "-p", "den", "--max-tokens", 6,
        "--temperature", 0.8, "--seed", 3,
    )  # fmt: skip
    assert code == 0
    assert len(out.splitlines()) >= 2
    assert "12 tokens" in err


def test_verify_succeeds_only_on_proof(tascel, bundle, toy_folder, traces, tmp_path):
    numbers = tmp_path / "verify.json"
    arguments = ("verify", bundle, traces, "-m", toy_folder, "--limit", 4, "--max-tokens", 16)
    code, out, _ = tascel(*arguments, "--json", numbers)
    content = json.loads(numbers.read_text(encoding="utf-8"))
    assert content["equal"]
    assert content["prompts"] == 4
    # an untrained toy may have no draft that pays, and then nothing is proven
    assert code == (0 if content["offered"] else 1)
    assert ("equal" if content["offered"] else "nothing is proven") in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "traces.jsonl"),
        (b'{"prompt": "a", "output": "b"}\n{"prompt": ', "traces.jsonl:2"),
        (b"\x00\x01\x02\xff binary", "traces.jsonl"),
        (b'{"prompt": "a"}\n', "traces.jsonl:1"),
        ('{"prompt": "é"}'.encode("latin-1"), "traces.jsonl"),
    ],
)
def test_bad_traces_end_with_one_message(tascel, toy_folder, tmp_path, content, message):
    file = tmp_path / "traces.jsonl"
    file.write_bytes(content)
    code, _, err = tascel("build", file, "-m", toy_folder, "-o", tmp_path / "b")
    assert code == 1
    assert "error:" in err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "b").exists()


def test_bad_lines_can_be_skipped_and_are_counted(tascel, toy_folder, tmp_path):
    file = tmp_path / "traces.jsonl"
    file.write_text('{"prompt": "a", "output": "b"}\n{"prompt": \n{"prompt": "c", "output": ""}\n')
    code, out, err = tascel(
        "build", file, "-m", toy_folder, "-o", tmp_path / "b", "--skip-bad"
    )  # fmt: skip
    assert code == 0
    assert "2 outputs" in out
    assert "1 bad record" in err


def test_missing_things_are_named(tascel, bundle, toy_folder, traces, tmp_path):
    for arguments, name in (
        (("build", tmp_path / "no.jsonl", "-m", toy_folder, "-o", tmp_path / "b"), "no.jsonl"),
        (("build", traces, "-m", tmp_path / "nomodel", "-o", tmp_path / "b"), "nomodel"),
        (("generate", tmp_path / "nobundle", "-m", toy_folder, "-p", "x"), "nobundle"),
        (("generate", bundle, "-m", toy_folder, "-a", tmp_path / "noad", "-p", "x"), "noad"),
        (("generate", bundle, "-m", toy_folder), "--prompt"),
        (("bench", bundle, traces, "-m", toy_folder, "--against", "magic"), "magic"),
        (("check", tmp_path), "manifest.json"),
    ):
        code, _, err = tascel(*arguments)
        assert code == 1, arguments
        assert "error:" in err
        assert name in err


def test_a_damaged_bundle_is_found(tascel, bundle):
    array = bundle / "all" / "array.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    code, _, err = tascel("check", bundle)
    assert code == 1
    assert "array.npy" in err


def test_an_unknown_option_is_refused(tascel, bundle):
    code, _, err = tascel("check", bundle, "--fast")
    assert code == 2
    assert "--fast" in err


def test_workers_build_what_one_process_builds(tascel, bundle, toy_folder, traces, tmp_path):
    other = tmp_path / "other"
    code, out, _ = tascel("build", traces, "-m", toy_folder, "-o", other, "--workers", 2)
    assert code == 0
    assert "30 outputs" in out
    for name in ("all/text.npy", "all/trust.npy", "all/features.npy"):
        assert (other / name).read_bytes() == (bundle / name).read_bytes()
    code, _, err = tascel("build", traces, "-m", toy_folder, "-o", other, "--workers", "many")
    assert code != 0
    assert "workers cannot be 'many'" in err
