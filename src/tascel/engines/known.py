"""The engines that can run a model: whether each is here, and what was measured of its passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from tascel.cache import cache_folder
from tascel.draft.price import Price
from tascel.engines.profile import Setting, kept_price, machine


@dataclass(frozen=True, slots=True)
class Known:
    """An engine.

    Attributes:
        name: as options say it.
        title: as people do.
        packages: what has to be installed, the one whose version is its own first.
        runtime: how the runtime of its settings begins.
        install: how to get it.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    runtime: str
    install: str

    def version(self) -> str | None:
        """The version that is installed here, None if it is not. Imports nothing."""
        if any(find_spec(package) is None for package in self.packages):
            return None
        brought = metadata.packages_distributions().get(self.packages[0], [])
        return metadata.version(brought[0]) if brought else "of unknown version"


ENGINES = {
    engine.name: engine
    for engine in (
        Known("hf", "PyTorch", ("torch", "transformers"), "torch ", "pip install 'tascel[hf]'"),
        Known("openvino", "OpenVINO", ("openvino",), "openvino ", "pip install 'tascel[openvino]'"),
        Known(
            "llamacpp", "llama.cpp", ("llama_cpp",), "llama.cpp ", "pip install 'tascel[llamacpp]'"
        ),
        Known(
            "vllm", "vLLM", ("vllm",), "vllm ",
            "install tascel into the environment that vLLM is in, and run it from there",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A price that was measured here, and what it holds for."""

    engine: Known
    setting: Setting
    price: Price

    @property
    def tailored(self) -> bool:
        """Whether the model's head had been cut to a bundle's selection."""
        return " head of " in self.setting.runtime

    @property
    def trees(self) -> bool:
        """Whether the engine checks trees, as far as its setting tells."""
        return self.engine.name == "hf" and "packed" in self.setting.runtime


def kept_prices() -> list[Kept]:
    """All that was measured on this machine, the newest first; of those that differ only in the
    version of the runtime, the newest alone."""
    found: dict[tuple[str, ...], Kept] = {}
    files = [file for file in cache_folder("prices").glob("*.json") if file.is_file()]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        for kept in _read(file):
            found.setdefault(_what(kept), kept)
    return list(found.values())


def _read(file: Path) -> Iterator[Kept]:
    try:
        setting = Setting(**json.loads(file.read_text(encoding="utf-8"))["setting"])
        mine = setting.file == file and (setting.device != "cpu" or setting.machine == machine())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    engine = next((e for e in ENGINES.values() if setting.runtime.startswith(e.runtime)), None)
    price = kept_price(setting) if mine else None
    if engine is not None and price is not None:
        yield Kept(engine, setting, price)


def _what(kept: Kept) -> tuple[str, ...]:
    """What a price is of, whatever the version it was measured with."""
    setting = kept.setting
    _, *how = setting.runtime.split(", ")
    return (
        kept.engine.name, setting.weights, setting.device, setting.dtype, str(setting.threads),
        setting.machine, *how,
    )  # fmt: skip
