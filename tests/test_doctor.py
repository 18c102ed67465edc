"""`doctor`: every part is looked at, and what fails is named with its remedy."""

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from tascel import doctor
from tascel.engines.known import ENGINES, Known
from tascel.engines.profile import Setting, keep_price, machine


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_whole_installation():
    findings = {finding.part: finding for finding in doctor.examine()}
    assert [f for f in findings.values() if f.state == "broken"] == []
    assert findings["tascel"].found == metadata.version("tascel")
    for part in ("numba", "torch (hf)", "pyarrow (parquet)", "hassil (demo)", "draft kernels",
                 "processor", "GPU", "bfloat16", "engine hf", "engine openvino",
                 "engine llamacpp", "engine vllm", "measured passes", "cache folder",
                 "pip"):  # fmt: skip
        assert part in findings
    assert "pytest (dev)" not in findings
    assert all(f.remedy for f in findings.values() if f.state != "ok")


def test_missing_packages(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    core, extra = doctor._package("numpy", None), doctor._package("torch", "hf")
    assert (core.state, core.remedy) == ("broken", "pip install tascel")
    assert extra.state == "missing"
    assert extra.remedy.endswith("pip install 'tascel[hf]'")


def test_a_package_that_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    finding = doctor._package("peft", "hf")
    assert finding.state == "broken"
    assert "but fails: ModuleNotFoundError" in finding.found


def test_a_module_that_is_not_named_as_its_package():
    assert doctor._module("scikit-learn") == "sklearn"
    assert doctor._module("numpy") == "numpy"
    assert doctor._module("not-there") == "not_there"


def test_kernels_that_fail_or_cannot_be_kept(monkeypatch):
    monkeypatch.setattr(doctor, "_writable", lambda folder: False)
    assert doctor._kernels().remedy.startswith("Set NUMBA_CACHE_DIR")
    nowhere = SimpleNamespace(stats=SimpleNamespace(cache_path=None))
    monkeypatch.setattr("tascel.draft.kernels.growing.grow", nowhere)
    assert doctor._kernels().remedy.startswith("Set NUMBA_CACHE_DIR")
    monkeypatch.setitem(sys.modules, "tascel.draft.kernels.growing", None)
    assert doctor._kernels().state == "broken"


def test_cache_folder(cache, monkeypatch):
    assert doctor._cache().state == "ok"
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e9))
    assert doctor._cache().state == "missing"
    cache.rmdir()
    cache.write_text("a file in the way")
    assert doctor._cache().state == "broken"


def test_no_pip(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "No module named pip")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    assert "ensurepip" in doctor._pip().remedy


def test_packages_of_an_extra_that_nobody_asked_about_are_no_core_ones(monkeypatch):
    needed = ["numpy>=1", 'torch; extra == "hf"', "nncf; extra == 'openvino-export'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    assert doctor._requirements() == [("numpy", None), ("torch", "hf")]


def test_an_engine_that_is_not_here_or_does_not_load(monkeypatch):
    nowhere = Known("x", "X", ("not_there",), "x ", "pip install x")
    finding = doctor._engine(nowhere)
    assert (finding.found, finding.state) == ("no X", "missing")
    assert finding.remedy == "To run in it: pip install x"
    torch = ENGINES["hf"]
    assert doctor._engine(torch).found == f"PyTorch {metadata.version('torch')}"
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(Known, "version", lambda self: "2.13")
    assert doctor._engine(torch).state == "broken"


def test_the_engine_with_the_quickest_passes_is_recommended(monkeypatch):
    monkeypatch.setattr(Known, "version", lambda self: "1")
    (finding,) = doctor._measured()
    assert "tascel profile" in finding.remedy
    how = ("cpu", "bfloat16", 2, "torch 2.13, packed", machine())
    keep_price(Setting("m", "w", *how), {1: {1: 9.0, 64: 90.0}}, 96)
    assert list(doctor._measured()) == []  # one way leaves nothing to choose
    how = ("cpu", "int8", 2, "openvino 2026.4.1, int8 weights", machine())
    keep_price(Setting("m", "w", *how), {1: {1: 10.0, 8: 10.0, 64: 80.0}}, 96)
    (finding,) = doctor._measured()
    assert finding.part == "passes of 8 tokens, m"
    assert finding.found == (
        "OpenVINO (int8, int8 weights, threads 2) 10.0 ms, "
        "PyTorch (bfloat16, packed, threads 2) 18.0 ms"
    )
    assert finding.remedy.startswith("Take OpenVINO (int8")
    installed = ("hf",)
    monkeypatch.setattr(Known, "version", lambda self: "1" if self.name in installed else None)
    assert list(doctor._measured()) == []
