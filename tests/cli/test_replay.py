"""`tascel replay`, as a user types it: no model, a toy's tokenizer."""

from __future__ import annotations

import json
import sys

import pytest

ALWAYS = "prompt-lookup,tasc-paper,tasc-tuned"
ROW = {
    "name", "tokens_per_step", "drafted_per_step", "microseconds_per_step", "speedup_estimate",
    "accepted_by_source",
}  # fmt: skip


def write(file, records):
    file.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    records = [
        {
            "system": "Be brief.",
            "prompt": f"{room} light {i}",
            "output": f'{{"light": "{room}", "level": {i % 4}}}',
            "split": split,
            "group": f"{room} {i % 12}",
        }
        for i in range(24)
        for room in ("den", "hall")
        for split in ("train", "test")
    ]
    return write(tmp_path_factory.mktemp("traces") / "traces.jsonl", records)


@pytest.fixture(scope="module")
def bundle(toy_folder, traces, tmp_path_factory):
    from tascel import build

    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    build(traces, toy_folder, folder)
    return folder


def replayed(tascel, tmp_path, *arguments):
    """What the verb wrote, and what it printed."""
    numbers = tmp_path / "replay.json"
    code, out, err = tascel("replay", *arguments, "--json", numbers)
    assert code == 0, err
    return json.loads(numbers.read_text(encoding="utf-8")), out


def test_replay_writes_its_stable_format_and_a_table(tascel, bundle, traces, tmp_path):
    content, out = replayed(
        tascel, tmp_path, bundle, traces, "--against", ALWAYS, "--limit", 5
    )  # fmt: skip
    assert content["examples"] == 5
    assert content["step_ms"] == 40
    assert "SmolLM2" in content["price_file"]
    assert [row["name"] for row in content["drafts"]] == [*ALWAYS.split(","), "tascel"]
    assert all(set(row) >= ROW for row in content["drafts"])
    rows = {row["name"]: row for row in content["drafts"]}
    assert rows["tascel"]["speedup_estimate"] > 2
    assert rows["prompt-lookup"]["accepted_by_source"].keys() <= {"context"}
    assert rows["prompt-lookup"]["settings"]["num_output_tokens"] == 10
    assert sum(rows["tascel"]["accepted_by_source"].values()) <= 1
    assert "speed-up" in out
    assert "tasc-paper" in out


def test_what_runs_by_default_needs_nothing_that_may_be_missing(
    tascel, bundle, traces, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "arctic_inference", None)
    monkeypatch.setitem(sys.modules, "arctic_inference.suffix_decoding", None)
    content, _ = replayed(tascel, tmp_path, bundle, traces, "--limit", 2)
    assert "suffix-warm" not in [row["name"] for row in content["drafts"]]
    code, _, err = tascel("replay", bundle, traces, "--against", "suffix-warm")
    assert code == 1
    assert "pip install --no-deps arctic-inference==0.3.0" in err


def test_variants_of_our_draft_are_replayed_beside_it(tascel, bundle, traces, tmp_path):
    content, _ = replayed(
        tascel, tmp_path, bundle, traces, "--against",
        "chain,rule:longest,corpus-context,no-neighbours,no-slots,pooled", "--limit", 4, "--tune",
    )  # fmt: skip
    chain, longest, bare, *_, ours = content["drafts"]
    assert chain["settings"] == {"trees": False}
    assert longest["settings"] == {"rule": "longest"}
    assert bare["settings"] == {"neighbours": False, "slots": False}
    assert bare["accepted_by_source"].keys() <= {"corpus", "context"}
    assert (ours["name"], ours["settings"]) == ("tascel", {})
    assert min(row["speedup_estimate"] for row in content["drafts"]) > 1


def test_tuning_looks_at_training_traces_only(tascel, bundle, traces, tmp_path, monkeypatch):
    from tascel.bench import peers, tuning

    grid = [{"order": 4, "least": 1, "most": most} for most in (0, 8)]
    monkeypatch.setattr(tuning, "GRIDS", {**peers.GRIDS, "tasc-tuned": grid})
    content, _ = replayed(
        tascel, tmp_path, bundle, traces, "--against", "tasc-paper,tasc-tuned", "--tune"
    )  # fmt: skip
    rows = {row["name"]: row for row in content["drafts"]}
    assert rows["tasc-tuned"]["settings"] == grid[1]
    assert rows["tasc-paper"]["settings"] == {}

    records = [json.loads(line) for line in traces.read_text(encoding="utf-8").splitlines()]
    unlabelled = write(
        tmp_path / "test.jsonl", [r | {"split": None} for r in records if r["split"] == "test"]
    )
    for nothing_to_try_on in ((unlabelled,), (traces, "--max-tokens", 1)):
        code, _, err = tascel("replay", bundle, *nothing_to_try_on, "--tune")
        assert code == 1
        assert "leave out --tune" in err


def test_a_models_own_answers_are_replayed(tascel, bundle, traces, toy_folder, tmp_path):
    answers = tmp_path / "answers.jsonl"
    code, _, _ = tascel(
        "generate", bundle, traces, "-m", toy_folder, "-o", answers, "--limit", 6,
        "--max-tokens", 12,
    )  # fmt: skip
    assert code == 0
    content, _ = replayed(tascel, tmp_path, bundle, traces, "--completions", answers)
    assert content["examples"] == 6
    content, _ = replayed(tascel, tmp_path, bundle, answers)  # it is a file of traces, too
    assert content["examples"] == 6


def test_the_answers_of_a_bench_are_replayed_token_by_token_at_its_price(
    tascel, bundle, traces, toy_folder, tmp_path
):
    from tascel.bench.answers import completed
    from tascel.bench.prompts import prompts
    from tascel.bundle import Bundle

    own, benched, numbers = (tmp_path / name for name in ("own", "benched", "bench.json"))
    short = ("--limit", 6, "--max-tokens", 12)
    code, _, _ = tascel("generate", bundle, traces, "-m", toy_folder, "-o", own, *short)
    assert code == 0
    code, _, _ = tascel(
        "bench", bundle, traces, "-m", toy_folder, *short, "--against", "none", "--answers",
        benched, "--json", numbers,
    )  # fmt: skip
    assert code == 0
    lines = [
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for file in (own, benched)
    ]
    assert all(a.keys() == b.keys() for a, b in zip(*lines, strict=True))
    for key in ("prompt", "group", "output", "finish_reason", "tokens", "ids"):
        assert [line[key] for line in lines[0]] == [line[key] for line in lines[1]]
    codec = Bundle.open(bundle).codec
    known = completed(codec, prompts(str(traces), "test"), benched)
    assert [example.output.tolist() for example in known] == [line["ids"] for line in lines[1]]
    spelled_again = [codec.output(line["output"]).tolist() for line in lines[1]]
    assert any(ids != line["ids"] for ids, line in zip(spelled_again, lines[1], strict=True))

    kept = json.loads(numbers.read_text(encoding="utf-8"))["price_file"]
    content, _ = replayed(
        tascel, tmp_path, bundle, traces, "--completions", benched, "--price", kept
    )  # fmt: skip
    assert content["price_file"] == kept
    assert content["tokens"] == sum(len(line["ids"]) - 1 for line in lines[1])


def test_ids_that_do_not_spell_the_answer_are_refused(tascel, bundle, traces, tmp_path):
    from tascel.bundle import Bundle

    line = {"prompt": "den light 0", "output": "on"}
    right = Bundle.open(bundle).codec.output("on, on").tolist()
    for ids in ([], "on", [1.5], [-1], [2**40], [True], right[1:], None):
        file = write(tmp_path / "answers.jsonl", [line | {"ids": ids}])
        code, _, err = tascel("replay", bundle, traces, "--completions", file)
        assert code == 1
        assert "answers.jsonl:1: its ids" in err
    write(tmp_path / "answers.jsonl", [line | {"ids": right}])  # it was stopped before a text
    content, _ = replayed(tascel, tmp_path, bundle, traces, "--completions", file)
    assert content["tokens"] == len(right) - 1


def test_completions_answer_these_prompts(tascel, bundle, traces, tmp_path):
    def refused(*records):
        file = write(tmp_path / "answers.jsonl", records)
        code, _, err = tascel("replay", bundle, traces, "--completions", file)
        assert code == 1
        return err

    good = {"prompt": "den light 0", "output": "on, on, on", "finish_reason": "stop"}
    failed = {"prompt": "hall light 0", "error": "too long"}
    assert "answers.jsonl:2" in refused(good, good)
    assert "--skip-bad" in refused(good, failed)
    assert "not an object" in refused(["den light 0"])
    assert "no answer" in refused(failed | {"prompt": "den light 0"})
    (tmp_path / "answers.jsonl").write_text('{"prompt": \n')
    code, _, err = tascel(
        "replay", bundle, traces, "--completions", tmp_path / "answers.jsonl"
    )  # fmt: skip
    assert code == 1
    assert "not JSON" in err
    write(tmp_path / "answers.jsonl", [good, failed])
    content, _ = replayed(
        tascel, tmp_path, bundle, traces, "--completions", tmp_path / "answers.jsonl", "--skip-bad"
    )
    assert content["examples"] == 1
    stopped = content["tokens"]
    write(tmp_path / "answers.jsonl", [good | {"finish_reason": "length"}])
    content, _ = replayed(
        tascel, tmp_path, bundle, traces, "--completions", tmp_path / "answers.jsonl"
    )
    assert content["tokens"] == stopped - 1  # it has no closing id
    write(tmp_path / "answers.jsonl", [good, good | {"prompt": "hall light 0"}])
    content, _ = replayed(
        tascel, tmp_path, bundle, traces, "--completions", tmp_path / "answers.jsonl", "--limit", 1
    )
    assert (content["examples"], content["tokens"]) == (1, stopped)


def test_chains_only(tascel, bundle, traces, tmp_path):
    content, _ = replayed(tascel, tmp_path, bundle, traces, "--chain", "--limit", 3)
    assert not content["trees"]


def test_a_price_file_is_read_and_named(tascel, bundle, traces, tmp_path):
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"ms": {"1": {"1": 10.0, "2": 1000.0}}}))
    content, _ = replayed(tascel, tmp_path, bundle, traces, "--price", prices, "--limit", 3)
    assert content["price_file"] == "prices.json"
    assert content["step_ms"] == 10
    rows = {row["name"]: row for row in content["drafts"]}
    assert rows["tasc-paper"]["speedup_estimate"] < 1
    assert rows["tascel"]["drafted_per_step"] == 0


@pytest.mark.parametrize("content", ["", "{", '{"ms": {}}', '{"ms": {"1": "free"}}', "[]", None])
def test_a_broken_price_file_is_refused(tascel, bundle, traces, tmp_path, content):
    prices = tmp_path / "prices.json"
    if content is not None:
        prices.write_text(content)
    code, _, err = tascel("replay", bundle, traces, "--price", prices)
    assert code == 1
    assert "prices.json" in err
    assert "tascel profile" in err


def test_long_answers_are_cut_and_long_prompts_are_fine(tascel, bundle, tmp_path):
    record = {"prompt": "light " * 3000, "output": "on, " * 2000}
    traces = write(tmp_path / "traces.jsonl", [record])
    content, _ = replayed(tascel, tmp_path, bundle, traces)
    assert content["tokens"] == 511
    content, _ = replayed(tascel, tmp_path, bundle, traces, "--max-tokens", 20)
    assert content["tokens"] == 19


def test_bad_input_ends_with_one_message(tascel, bundle, traces, toy_folder, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": "a"}])
    empty = write(tmp_path / "empty.jsonl", [{"prompt": "a", "output": ""}])
    for arguments, name in (
        ((bundle, prompts), "no `output`"),
        ((bundle, prompts, "--skip-bad"), "no traces"),
        ((bundle, empty), "longer than one token"),
        ((bundle, tmp_path / "no.jsonl"), "no.jsonl"),
        ((bundle, traces, "--split", "valid"), "valid"),
        ((bundle, traces, "--against", "tasc-paper,magic"), "magic"),
        ((bundle, traces, "--completions", tmp_path / "none.jsonl"), "none.jsonl"),
        ((tmp_path / "nobundle", traces), "nobundle"),
        ((foreign, traces), "manifest.json"),
    ):
        code, _, err = tascel("replay", *arguments)
        assert code == 1, arguments
        assert name in err, arguments
        assert "Traceback" not in err


def test_a_bundle_whose_tokenizer_is_another_one_is_refused(tascel, bundle, traces, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    file = copy / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["merges"] = content["model"]["merges"][:1]
    file.write_text(json.dumps(content), encoding="utf-8")
    code, _, err = tascel("replay", copy, traces)
    assert code == 1
    assert "tokenizer" in err


def test_bad_lines_can_be_skipped_and_are_counted(tascel, bundle, tmp_path):
    file = tmp_path / "traces.jsonl"
    file.write_text('{"prompt": "a", "output": "bcd"}\n{"prompt": \n{"prompt": "no answer"}\n')
    code, _, err = tascel("replay", bundle, file)
    assert code == 1
    code, _, err = tascel("replay", bundle, file, "--skip-bad")
    assert code == 0
    assert "2 bad records" in err


def test_replay_from_python(bundle, traces):
    import tascel

    content = tascel.replay(bundle, traces, ["tasc-paper"], limit=2)
    assert [row["name"] for row in content["drafts"]] == ["tasc-paper", "tascel"]
