"""A model as OpenVINO reads it: a folder of files, and what has to be known of it beforehand.

`tascel export` writes the facts into a file of their own. What optimum-intel exported has none;
there they are made from the model's configuration. Nothing here loads OpenVINO or torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from tascel.engines.weights import sampled
from tascel.errors import ModelError

GRAPH, WEIGHTS, FACTS = "openvino_model.xml", "openvino_model.bin", "tascel.json"
#: What the weights are kept as.
FORMS = ("fp16", "int8")
#: How configurations say that layers see only the last tokens.
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
_VERSION = 1
_UNLIMITED = 1 << 30
_AGAIN = "Export the model again: tascel export BUNDLE --model M --to openvino -o FOLDER"


@dataclass(frozen=True, slots=True)
class Facts:
    """What must be known of a model before its first pass.

    Attributes:
        weights: fingerprint of the model it was made from, as a bundle's manifest has it; of the
            exported weights themselves where nobody noted that.
        form: "fp16", "int8" or "unknown".
        context_limit: how long a text may be, in tokens.
        draft_limit: up to which length drafts can be taken back, in tokens.
        vocab_size: how many logits a position has.
        eos_ids: what ends an answer.
    """

    weights: str
    form: str
    context_limit: int
    draft_limit: int
    vocab_size: int
    eos_ids: tuple[int, ...]


def is_export(folder: str | Path) -> bool:
    """Whether a folder holds a model for OpenVINO."""
    return (Path(folder).expanduser() / GRAPH).is_file()


def is_ours(folder: Path) -> bool:
    """Whether `tascel export` wrote an export: then it was checked against the model itself."""
    return (folder / FACTS).is_file()


def windowed(folder: Path) -> bool:
    """Whether layers of another exporter's model may see only the last tokens."""
    config = _json(folder / "config.json")
    text: Any = config.get("text_config")
    parts: list[Any] = [config, text if isinstance(text, dict) else {}]
    return any(part.get(name) for part in parts for name in _WINDOWS)


def read_facts(folder: str | Path) -> Facts:
    """The facts of an exported model.

    Raises:
        ModelError: files are missing, cut short or damaged, or a newer tascel wrote them.
    """
    folder = Path(folder).expanduser()
    for name in (GRAPH, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} holds no {name}", _AGAIN)
    if not (folder / FACTS).exists():
        return _from_config(folder)
    content = _json(folder / FACTS)
    if content.get("version") != _VERSION:
        newer = isinstance(version := content.get("version"), int) and version > _VERSION
        raise ModelError(
            f"{folder / FACTS} " + ("is of a newer tascel" if newer else "has no version we know"),
            "Update tascel, or export the model again" if newer else _AGAIN,
        )
    for name, size in _sizes(content, folder).items():
        if (found := (folder / name).stat().st_size) != size:
            raise ModelError(
                f"{folder / name} has {found:,} bytes instead of {size:,}",
                "Copy the folder again, all of it",
            )
    return _sound(content.get("facts"), folder / FACTS)


def write_facts(folder: Path, facts: Facts) -> None:
    """Write what is known of the model in `folder`, and how large its files are."""
    sizes = {name: (folder / name).stat().st_size for name in (GRAPH, WEIGHTS)}
    content = {"version": _VERSION, "facts": asdict(facts), "bytes": sizes}
    (folder / FACTS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _sizes(content: dict[str, Any], folder: Path) -> dict[str, int]:
    sizes = content.get("bytes")
    if not isinstance(sizes, dict) or {*cast(dict[str, Any], sizes)} != {GRAPH, WEIGHTS}:
        raise ModelError(f"{folder / FACTS} does not say how large the files are", _AGAIN)
    return cast(dict[str, int], sizes)


def _sound(listed: Any, file: Path) -> Facts:
    """The facts that a file lists, if they can be true."""
    try:
        facts = Facts(**(listed | {"eos_ids": tuple(listed["eos_ids"])}))
        texts, numbers = (facts.weights, facts.form), (facts.context_limit, facts.draft_limit)
        ids = all(type(id_) is int and id_ >= 0 for id_ in facts.eos_ids)
        sound = ids and all(type(text) is str for text in texts)
        sound &= all(type(n) is int and n > 0 for n in (*numbers, facts.vocab_size))
    except (TypeError, KeyError):
        sound, facts = False, None
    if not sound or facts is None:
        raise ModelError(f"{file} does not say what has to be known of the model", _AGAIN)
    return facts


def _from_config(folder: Path) -> Facts:
    """The facts of a folder that another exporter wrote."""
    whole = _json(folder / "config.json")
    text = whole.get("text_config")
    config: dict[str, Any] = whole | (cast(dict[str, Any], text) if isinstance(text, dict) else {})
    generation = folder / "generation_config.json"
    ends: Any = _json(generation).get("eos_token_id") if generation.exists() else None
    if ends is None:
        ends = config.get("eos_token_id")
    limit = _first(config, "max_position_embeddings", "max_seq_len", "seq_length", "n_positions")
    facts: dict[str, Any] = {
        "weights": sampled([folder / WEIGHTS]),
        "form": "unknown",
        "context_limit": limit or _UNLIMITED,
        "draft_limit": min(limit or _UNLIMITED, _switch(config)),
        "vocab_size": config.get("vocab_size"),
        "eos_ids": ends if isinstance(ends, list) else [ends] if ends is not None else [],
    }
    return _sound(facts, folder / "config.json")


def _first(config: dict[str, Any], *names: str) -> int | None:
    found = (config.get(name) for name in names)
    return next((limit for limit in found if isinstance(limit, int) and limit > 0), None)


def _switch(config: dict[str, Any]) -> int:
    """Length beyond which longrope turns all positions differently."""
    rope: Any = config.get("rope_parameters") or config.get("rope_scaling") or {}
    parts: list[Any] = [rope, *rope.values()] if isinstance(rope, dict) else []
    switch = _UNLIMITED
    for part in parts:
        known = config | cast(dict[str, Any], part) if isinstance(part, dict) else {}
        if "longrope" in (known.get("rope_type"), known.get("type")):
            switch = min(switch, known.get("original_max_position_embeddings") or _UNLIMITED)
    return switch


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file.parent} holds no {file.name}", _AGAIN) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read ({error})", _AGAIN) from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no object", _AGAIN)
    return cast(dict[str, Any], content)
