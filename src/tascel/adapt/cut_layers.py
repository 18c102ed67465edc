"""A smaller model of some of another's layers, as an ordinary folder: where a small model of the
same tokenizer is wanted and none is published."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tascel.adapt.train.saving import public_name, save_model
from tascel.codec import Codec
from tascel.engines.hf.layers import keep_layers, spaced
from tascel.engines.hf.load import load_model, tokenizer_of
from tascel.errors import ModelError

FACTS = "cut.json"


@dataclass(frozen=True, slots=True)
class LayerCut:
    """What was written.

    Attributes:
        base_model: the id or the folder's name of the model that was cut.
        layers: that were kept, as the base numbers them, of `layers_before`.
        parameters, parameters_before: each counted once where matrices are tied.
    """

    base_model: str
    layers: tuple[int, ...]
    layers_before: int
    parameters: int
    parameters_before: int


def cut_layers(
    model: str | Path, layers: int, out: Path, adapter: str | Path | None = None
) -> LayerCut:
    """Write `layers` evenly spaced layers of the model, with its embedding, last norm, head and
    tokenizer, to the new folder `out`: whole or not at all. Every library reads it.

    It answers badly until it is trained: `tascel finetune` or `tascel bridge train`.

    Raises:
        ModelError: the model cannot be loaded, keeps its layers in no list or has not so many, or
            `out` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} is not an empty folder", "Choose another, or remove it yourself")
    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    base: Any = load_model(model, adapter, device="cpu")
    before: int = base.config.get_text_config().num_hidden_layers
    kept = spaced(before, layers)
    smaller = keep_layers(base, kept)
    found = LayerCut(
        public_name(model), (*kept,), before, smaller.num_parameters(), base.num_parameters()
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".tascel-") as work:
        fresh = Path(work) / "model"
        fresh.mkdir()
        save_model(smaller, fresh)
        codec.save(fresh)
        (fresh / FACTS).write_text(json.dumps(asdict(found)) + "\n", encoding="utf-8")
        for file in fresh.iterdir():  # some writers leave theirs to the owner alone
            shutil.copymode(fresh / FACTS, file)
        fresh.rename(out)
    return found
