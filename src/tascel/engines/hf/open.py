"""A transformers model as an engine, from its folder or as it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tascel.codec import Codec
from tascel.engines.hf.bridge.folder import open_bridge, read_bridge
from tascel.engines.hf.condition import Conditioner
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.load import fingerprint, load_model, load_tailored
from tascel.engines.hf.vocabulary import Vocabulary
from tascel.engines.opened import Opened
from tascel.engines.profile import Setting, machine
from tascel.errors import RequestError
from tascel.selection import Selection
from tascel.store.manifest import public_command


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model lies and how it is to run: as `tascel.load` has it."""

    model: str | Path
    adapter: str | Path | None = None
    dtype: str = "auto"
    device: str | None = None
    large: str | Path | None = None


def open_model(
    place: Place,
    codec: Codec,
    head: str = "full",
    selection: Selection | None = None,
    *,
    drafts: bool = True,
    cache_tokens: int | None = None,
) -> Opened:
    """Load a model; with the head of a `selection` if one is given. Raises as `tascel.load`."""
    facts = read_bridge(place.model)
    if facts is None and place.large is not None:
        raise RequestError(f"{place.model} is bridged to no large model", "Leave --large out")
    how = (place.adapter, place.dtype, place.device)
    vocabulary, bridged = None, facts is not None
    if selection is None:
        lm = load_model(place.model, *how, bridged=bridged)
    else:
        lossless = head == "lossless"
        lm, vocabulary = load_tailored(place.model, selection.ids, lossless, *how, bridged=bridged)
    bridge = None if facts is None else open_bridge(place.model, facts, lm, codec, place.large)
    parts = [str(part) for part in (place.model, place.adapter) if part]
    return opened(
        lm,
        name=" + ".join(public_command(parts)),
        weights=fingerprint(place.model, place.adapter),
        drafts=drafts,
        cache_tokens=cache_tokens,
        vocabulary=vocabulary,
        head=head,
        conditioner=bridge,
    )


def opened(
    model: PreTrainedModel,
    *,
    name: str,
    weights: str,
    drafts: bool = True,
    cache_tokens: int | None = None,
    vocabulary: Vocabulary | None = None,
    head: str = "full",
    conditioner: Conditioner | None = None,
) -> Opened:
    """A model that is loaded already.

    `name` and `weights`, a digest, say what the price of a pass is kept for. `vocabulary` is the
    model's if `head` is not "full". `conditioner` says what prompts are fed as.
    """
    engine = HfEngine(
        model, allow_no_drafts=not drafts, cache_tokens=cache_tokens,
        vocabulary=vocabulary, lossless=head == "lossless",
        conditioner=conditioner,
    )  # fmt: skip
    how = "packed" if engine.packed else "row by row"
    if vocabulary is not None:
        how += f", {head} head of {len(vocabulary.head.static)}"
    return Opened(engine, _setting(model, how, name, weights), model, head, conditioner)


def _setting(model: PreTrainedModel, how: str, name: str, weights: str) -> Setting:
    device = model.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    return Setting(
        model=name,
        weights=weights,
        device=device.type,
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        runtime=f"torch {torch.__version__}, {how}",
        machine=gpu,
    )
