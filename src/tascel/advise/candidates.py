"""Which engines could run the models that are asked about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tascel.engines.hf.load import fingerprint, named
from tascel.engines.known import Kept
from tascel.engines.openvino.folder import is_export, read_facts
from tascel.engines.weights import sampled
from tascel.errors import ModelError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as one engine runs it.

    Attributes:
        engine: a name of `engines.known.ENGINES`.
        model: folder, id or file, as it was asked about.
        weights: the fingerprint that prices are kept for; "" of a model that is not here yet.
        form: what else a setting's runtime must name, such as "int8 weights"; "" for nothing.
    """

    engine: str
    model: str
    weights: str
    form: str = ""

    def ran_as(self, kept: Kept) -> bool:
        """Whether a price is of this."""
        setting = kept.setting
        same = kept.engine.name == self.engine and setting.weights == self.weights
        return same and not kept.tailored and self.form in setting.runtime


def candidates(model: str, adapter: str | Path | None = None) -> Iterator[Candidate]:
    """What can run a model, as its files are; nothing where a folder holds a tokenizer alone.

    Raises:
        ModelError: they cannot be read.
    """
    if is_gguf(model):
        yield Candidate("llamacpp", model, sampled([_there(model)]))
    elif is_export(model):
        facts = read_facts(model)
        yield Candidate("openvino", model, facts.weights, f"{facts.form} weights")
    elif not tokenizer_only(model, adapter):
        weights = _weights(model, adapter) or ""
        yield Candidate("hf", model, weights)
        if adapter is None:  # vLLM runs merged models
            yield Candidate("vllm", model, weights)


def is_gguf(model: str | Path) -> bool:
    """Whether this names a GGUF file."""
    return str(model).endswith(".gguf")


def tokenizer_only(model: str, adapter: str | Path | None = None) -> bool:
    """Whether this is a folder without weights: traces can be read with it, and nothing run.

    Raises:
        ModelError: there is no such folder.
    """
    folder = Path(named(model))
    return folder.is_dir() and not is_export(model) and _weights(model, adapter) is None


def _weights(model: str, adapter: str | Path | None) -> str | None:
    """The fingerprint of weights that are here; a model of a hub may still be to come."""
    try:
        return fingerprint(model, adapter)
    except ModelError:
        if adapter is not None:
            raise
        return None


def _there(gguf: str) -> Path:
    path = Path(gguf).expanduser()
    if not path.is_file():
        raise ModelError(f"{gguf}: there is no such file", "Check the path")
    return path
