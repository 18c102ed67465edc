"""Models for engines that read no folders of transformers."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "to_gguf.py"


@pytest.fixture(scope="session")
def toy_gguf(tmp_path_factory, toy_folder):
    """The toy Llama and its tokenizer as a GGUF, in float32."""
    file = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    runpy.run_path(str(SCRIPT))["convert"](toy_folder, file)
    return file
