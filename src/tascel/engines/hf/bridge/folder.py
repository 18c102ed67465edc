"""A bridged folder: the small model as any library reads it, and beside it what it is fed.

`bridge.json` names the large model and says what both models' weights must be; `bridge.weights`
are the projector's (safetensors, under a name that nobody takes for the model's).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from transformers import PreTrainedModel

from tascel.codec import Codec
from tascel.engines.hf.bridge.projector import HOWS, Projector, fuse
from tascel.engines.hf.bridge.reader import Reader
from tascel.engines.hf.load import BRIDGE, DTYPES, fingerprint, named
from tascel.engines.hf.quiet import short
from tascel.errors import ModelError
from tascel.store.file import whole_file
from tascel.types import Ids

VERSION = 1
_FACTS, _WEIGHTS = BRIDGE
_files: Any = safetensors  # untyped
_DAMAGED = "Copy the folder again, or train the bridge again"


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """What a bridge is made of.

    `large` is a Hugging Face id or a path, which begins at the folder if it is relative; so is
    `adapter`, if there is one. `layer` is the large model's whose states are read, None for an
    encoder; `dtype` what it reads in. `how` the states are fused. `read`, `hidden` and `write` are
    the projector's widths. The fingerprints are of the large model's weights with its adapter, and
    of the small one's.
    """

    large: str
    adapter: str | None
    layer: int | None
    dtype: str
    how: str
    read: int
    hidden: int
    write: int
    large_weights: str
    small_weights: str


class Origin(Protocol):
    """Where states come from: a reader, or what is kept of one. The attributes are `Reader`'s."""

    @property
    def large(self) -> str | Path: ...  # noqa: D102
    @property
    def adapter(self) -> str | Path | None: ...  # noqa: D102
    @property
    def layer(self) -> int | None: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def weights(self) -> str: ...  # noqa: D102


class Bridge:
    """Feeds prompts as a projector makes them of a reader's states."""

    def __init__(self, reader: Reader, projector: Projector, codec: Codec) -> None:
        self.reader = reader
        self.projector = projector
        self._codec = codec

    def __call__(self, prompt: Ids, embedded: torch.Tensor) -> torch.Tensor:
        """The embeddings `[n, w]` of a prompt i32[n], fused with what is read in it."""
        return self.many([prompt], [embedded])[0]

    def many(self, prompts: Sequence[Ids], embedded: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Of several prompts at once."""
        read = self.reader.read(prompts, self._codec)
        with torch.no_grad():
            return [
                fuse(own, self.projector(states), covered, self.projector.how)
                for own, (states, covered) in zip(embedded, read, strict=True)
            ]


def save_bridge(
    folder: Path, projector: Projector, reader: Origin, home: Path | None = None
) -> None:
    """Add a bridge to a folder that holds the small model already; the facts come last.

    `home` is where the folder will be moved to, if it will: a local large model is named by its
    way from there, so that both can be moved together.

    Raises:
        ModelError: there are no weights in the folder, or it cannot be written.
    """
    home = home or folder
    facts = BridgeFacts(
        large=_from(home, reader.large),
        adapter=None if reader.adapter is None else _from(home, reader.adapter),
        layer=reader.layer,
        dtype=reader.dtype,
        how=projector.how,
        read=projector.read,
        hidden=projector.hidden,
        write=projector.write,
        large_weights=reader.weights,
        small_weights=fingerprint(folder, bridge=False),
    )
    weights = {name: value.detach().cpu() for name, value in projector.state_dict().items()}
    try:
        partial = folder / f".{_WEIGHTS}"
        _files.save_file(weights, partial)
        partial.replace(folder / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: the bridge cannot be written ({error})", "Free some disk space"
        ) from error
    with whole_file(folder / _FACTS) as file:
        json.dump({"format": "tascel-bridge", "version": VERSION, **asdict(facts)}, file, indent=2)


def read_bridge(model: str | Path) -> BridgeFacts | None:
    """The facts of a model folder's bridge; None where there is none.

    Raises:
        ModelError: there is one that is damaged, or made by a newer version.
    """
    file = Path(model).expanduser() / _FACTS
    if not file.is_file():
        return None
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != "tascel-bridge":
            raise ValueError("it is of another kind")
        if content["version"] > VERSION:
            raise ModelError(f"{file} was made by a newer tascel", "Update tascel")
        return _typed(cast(Mapping[str, Any], content))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelError(f"{file} is damaged ({error})", _DAMAGED) from error


def open_bridge(
    folder: str | Path,
    facts: BridgeFacts,
    model: PreTrainedModel,
    codec: Codec,
    large: str | Path | None = None,
) -> Bridge:
    """The bridge of a folder, whose small model and codec are loaded, on the model's device.

    `large` is where the large model is now, if elsewhere; its adapter stays where it was.

    Raises:
        ModelError: the large model is missing or has changed, the small one has, or the projector
            is missing, damaged or of other sizes.
    """
    folder = Path(folder).expanduser()
    if fingerprint(folder, bridge=False) != facts.small_weights:
        raise ModelError(
            f"the small model in {folder} has changed since its bridge was trained", _DAMAGED
        )
    where = _there(folder, facts.large) if large is None else large
    adapter = None if facts.adapter is None else _there(folder, facts.adapter)
    _see_large(folder, facts, where, adapter)
    projector = _projector(folder, facts)
    if facts.write != cast(Any, model).get_input_embeddings().weight.shape[1]:
        raise ModelError(f"the bridge in {folder} does not fit the small model", _DAMAGED)
    device = str(model.device)
    reader = Reader.load(where, facts.layer, adapter, facts.dtype, device)
    if reader.width != facts.read:
        raise ModelError(f"the bridge in {folder} does not fit the large model", _DAMAGED)
    return Bridge(reader, projector.to(model.device).eval().requires_grad_(False), codec)


def _see_large(folder: Path, facts: BridgeFacts, where: str | Path, adapter: str | None) -> None:
    """See that the large model is there and the same, before anything of it is loaded."""
    try:
        found = fingerprint(where, adapter)
    except ModelError as error:
        raise ModelError(
            f"the large model that {folder} needs is not there: {error.what}",
            "Put it there, or name its place (--large)",
        ) from error
    if found != facts.large_weights:
        raise ModelError(
            f"{where} is not the large model that {folder} was trained with, or has changed",
            "Name that one's place (--large), or train the bridge again",
        )


def _projector(folder: Path, facts: BridgeFacts) -> Projector:
    projector = Projector(facts.read, facts.hidden, facts.write, facts.how)
    try:
        projector.load_state_dict(_files.load_file(folder / _WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{folder / _WEIGHTS} cannot be used ({short(error)})", _DAMAGED
        ) from error
    return projector.float()


def _typed(content: Mapping[str, Any]) -> BridgeFacts:
    facts = BridgeFacts(**{field.name: content[field.name] for field in fields(BridgeFacts)})
    texts = [facts.large, facts.large_weights, facts.small_weights]
    sizes = [facts.read, facts.hidden, facts.write, 1 if facts.layer is None else facts.layer]
    sound = (
        all(type(text) is str and text for text in texts)
        and (facts.adapter is None or type(facts.adapter) is str)
        and all(type(size) is int and 0 < size < 1 << 24 for size in sizes)
        and facts.how in HOWS
        and facts.dtype in DTYPES
    )
    if not sound:
        raise ValueError("a value is impossible")
    return facts


def _from(home: Path, place: str | Path) -> str:
    """A local folder by its way from `home`, a Hugging Face id as it is."""
    folder = Path(named(place))
    return os.path.relpath(folder.resolve(), home.resolve()) if folder.is_dir() else str(place)


def _there(folder: Path, place: str) -> str:
    """Undoes `_from`."""
    local = place.startswith("..") or (folder / place).is_dir() or Path(place).is_absolute()
    return str((folder.resolve() / place).resolve()) if local else place
