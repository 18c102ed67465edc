"""`doctor`: every part is looked at, and what fails is named with its remedy."""

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from tascel import doctor


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_whole_installation():
    findings = {finding.part: finding for finding in doctor.examine()}
    assert [f for f in findings.values() if f.state == "broken"] == []
    assert findings["tascel"].found == metadata.version("tascel")
    for part in ("numba", "torch (hf)", "pyarrow (parquet)", "hassil (demo)", "draft kernels",
                 "processor", "GPU", "bfloat16", "cache folder", "pip"):  # fmt: skip
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
