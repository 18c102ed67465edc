"""`advise` ranks what was measured here by replayed answers, and says what to do about the rest."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tascel.advise.advise import advise
from tascel.advise.candidates import candidates
from tascel.codec import Codec
from tascel.engines.hf.load import fingerprint
from tascel.engines.known import Known, kept_prices
from tascel.engines.openvino.folder import GRAPH, WEIGHTS, Facts, write_facts
from tascel.engines.profile import Setting, keep_price, machine
from tascel.errors import BundleError, ModelError, RequestError, TraceError

RUNTIMES = {
    "hf": "torch 2.13, packed",
    "openvino": "openvino 2026.4.1, int8 weights",
    "llamacpp": "llama.cpp of llama-cpp-python 0.3.36",
    "vllm": "vllm 0.33",
}
FLAT = {1: 10.0, 8: 11.0, 64: 20.0}
STEEP = {1: 5.0, 2: 12.0, 64: 800.0}
TO_GGUF = Path(__file__).parents[2] / "benchmarks" / "to_gguf.py"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(Known, "version", lambda self: "1")  # all are installed
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def export(toy_folder, tmp_path):
    """A folder as `tascel export --to openvino` writes it, but for the model itself."""
    folder = tmp_path / "exported"
    folder.mkdir()
    Codec.from_pretrained(toy_folder).save(folder)
    (folder / GRAPH).write_text("<net/>")
    (folder / WEIGHTS).write_bytes(bytes(100))
    write_facts(folder, Facts(fingerprint(toy_folder), "int8", 256, 256, 270, (265,)))
    return folder


@pytest.fixture
def gguf(toy_folder, tmp_path):
    file = tmp_path / "toy.gguf"
    runpy.run_path(str(TO_GGUF))["convert"](toy_folder, file)
    return file


def keep(engine, weights, points, dtype="float32", **fields):
    setting = Setting("toy", weights, "cpu", dtype, 2, RUNTIMES[engine], machine())
    setting = Setting(**{name: getattr(setting, name) for name in setting.__slots__} | fields)
    keep_price(setting, {1: points}, 96)
    return setting


def test_the_engine_whose_answers_come_soonest_is_first(toy_folder, export, gguf, lamps):
    weights = fingerprint(toy_folder)
    keep("hf", weights, FLAT)
    keep("openvino", weights, {width: ms / 2 for width, ms in FLAT.items()}, "int8")
    (llama,) = candidates(str(gguf))
    keep("llamacpp", llama.weights, STEEP, "F32")
    found = advise(lamps, [toy_folder, gguf, export], limit=3)
    first, second, third = found["engines"]
    assert [line["engine"] for line in (first, second)] == ["openvino", "hf"]
    assert (first["step_ms"], second["step_ms"], third["step_ms"]) == (5.0, 10.0, 5.0)
    assert first["drafts"]
    assert second["drafts"]
    assert first["drafted_ms"] < first["plain_ms"]
    # Wide passes cost too much there: a draft's tokens are worth no pass of their own.
    assert (third["engine"], third["drafts"]) == ("llamacpp", False)
    assert third["tokens_per_pass"] == pytest.approx(1.0)
    assert (found["learned"] + found["replayed"], found["replayed"]) == (30, 3)
    said = found["recommendation"]
    assert said["words"].startswith("Take OpenVINO, exported, int8")
    assert "Its weights are rounded" in said["words"]
    assert "PyTorch, toy-model0, float32 on 2 threads rounds none." in said["words"]
    build, serve = said["commands"]
    assert build == f"tascel build TRACES --model {toy_folder} -o bundle"
    assert serve == f"tascel serve bundle --model {export} --engine openvino"
    assert [line["rounded"] for line in (first, second, third)] == [True, False, False]
    json.dumps(found)


def test_an_engine_that_was_measured_and_is_not_here_is_to_be_installed(
    toy_folder, export, lamps, monkeypatch
):
    keep("openvino", fingerprint(toy_folder), FLAT, "int8")
    monkeypatch.setattr(Known, "version", lambda self: None)
    found = advise(lamps, [export], limit=3)
    assert found["recommendation"]["commands"][0] == "pip install 'tascel[openvino]'"


def test_milliseconds_are_those_of_the_passes(toy_folder, lamps):
    keep("hf", fingerprint(toy_folder), FLAT)
    (line,) = advise(lamps, [toy_folder, str(toy_folder)], limit=3)["engines"]
    found = advise(lamps, [toy_folder], limit=3)
    after = found["answer_tokens"] - 1
    assert line["plain_ms"] == pytest.approx(line["reading_ms"] + 10.0 * after)
    assert 11.0 < line["reading_ms"] < 20.0  # a prompt of more than 8 tokens and fewer than 64
    assert line["reading_ms"] + 10.0 < line["drafted_ms"] < line["plain_ms"]


def test_what_was_not_measured_is_named_with_its_command(toy_folder, export, lamps, monkeypatch):
    monkeypatch.setattr(Known, "version", lambda self: None if self.name == "vllm" else "1")
    found = advise(lamps, [toy_folder, export], limit=3)
    assert found["engines"] == []
    assert [entry["do"] for entry in found["to_measure"]] == [
        f"tascel profile --model {toy_folder}",
        f"tascel profile --model {export} --engine openvino",
    ]
    measure, drafts = found["recommendation"]["steps"]
    assert measure["commands"] == [entry["do"] for entry in found["to_measure"]]
    assert "Nothing was measured" in measure["words"]
    assert drafts["commands"][0].startswith("tascel build TRACES")
    absent = {entry["engine"]: entry["do"] for entry in found["absent"]}
    assert absent.keys() == {"llamacpp", "vllm"}
    assert absent["vllm"].startswith("install tascel into")
    assert "pip" not in absent["llamacpp"]  # it is here, but no model for it was named


def test_prices_of_other_models_machines_and_heads_do_not_count(toy_folder, lamps):
    weights = fingerprint(toy_folder)
    keep("hf", weights[::-1], FLAT)
    keep("hf", weights, FLAT, machine="another one")
    keep("hf", weights, FLAT, runtime="torch 2.13, packed, lossless head of 99")
    keep("openvino", weights, FLAT)
    found = advise(lamps, [toy_folder], limit=3)
    assert found["engines"] == []
    assert len(kept_prices()) == 3


def test_of_two_versions_of_a_runtime_the_newer_measurement_counts(toy_folder, lamps):
    weights = fingerprint(toy_folder)
    before = keep("hf", weights, STEEP, runtime="torch 2.12, packed")
    os.utime(before.file, (1, 1))
    keep("hf", weights, FLAT)
    before.file.with_name("damaged.json").write_text("{")
    (line,) = advise(lamps, [toy_folder], limit=3)["engines"]
    assert line["runtime"] == RUNTIMES["hf"]


def test_an_export_alone_is_enough_and_commands_can_be_run(toy_folder, export, lamps):
    keep("openvino", fingerprint(toy_folder), FLAT, "int8")
    found = advise(lamps, [export], limit=3, named="my traces.jsonl")
    absent = {entry["engine"]: entry["do"] for entry in found["absent"]}
    assert absent["hf"] == "name the Hugging Face model that was exported, too"
    assert found["recommendation"]["commands"] == [
        f"tascel build 'my traces.jsonl' --model {export} -o bundle",
        f"tascel serve bundle --model {export} --engine openvino",
    ]


def test_bad_input_is_refused_by_name(toy_folder, gguf, lamps, tmp_path):
    with pytest.raises(RequestError, match="no tokenizer"):
        advise(lamps, [gguf])
    with pytest.raises(ModelError, match="no such file"):
        advise(lamps, [toy_folder, tmp_path / "none.gguf"])
    with pytest.raises(ModelError):
        advise(lamps, [tmp_path / "none"])
    with pytest.raises(TraceError, match="too few traces"):
        advise(lamps[:1], [toy_folder])


def test_a_gguf_of_another_vocabulary_is_refused(toy_folder, gguf, lamps, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(toy_folder, other)
    file = other / "tokenizer.json"
    spec = json.loads(file.read_text())
    first, second = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)[:2]
    spec["model"]["vocab"] |= {first: 1, second: 0}
    file.write_text(json.dumps(spec))
    with pytest.raises(BundleError, match="id 0 is"):
        advise(lamps, [other, gguf], limit=3)
    assert advise(lamps, [other, toy_folder, gguf], limit=3)["replayed"] == 3  # one of them fits


def test_an_export_needs_no_torch(toy_folder, export, tmp_path):
    keep("openvino", fingerprint(toy_folder), FLAT, "int8")
    lines = [{"prompt": f"light {i}", "output": f"the lamp {i % 7}"} for i in range(30)]
    traces = tmp_path / "traces.jsonl"
    traces.write_text("\n".join(map(json.dumps, lines)))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tascel.advise.advise import advise\n"
        "from tascel.traces.read import read_traces\n"
        f"found = advise(read_traces({str(traces)!r}), [{str(export)!r}], limit=3)\n"
        "print(found['engines'][0]['engine'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "openvino", done.stderr


def test_llama_cpp_is_opened_as_it_was_measured(toy_folder, gguf, lamps):
    keep("hf", fingerprint(toy_folder), FLAT)
    (llama,) = candidates(str(gguf))
    keep("llamacpp", llama.weights, {width: ms / 2 for width, ms in FLAT.items()}, "F32")
    found = advise(lamps, [toy_folder, gguf], limit=3)
    assert found["recommendation"]["commands"][-1].endswith('"bundle", n_threads=2)')
