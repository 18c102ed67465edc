"""A tokenizer with fewer entries, numbered anew without gaps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer

from tascel.adapt.families import family
from tascel.errors import ModelError
from tascel.new_tokens import NewTokens
from tascel.pretrained import NEW_TOKENS
from tascel.types import Ids

_REMEDY = "Keep the whole vocabulary, and store the selection in a bundle (--bundle) instead"
#: Files that know the whole vocabulary; libraries may read them instead of tokenizer.json.
_OTHERS = ("tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "added_tokens.json")


def refuse(tokenizer: Any) -> None:
    """Refuse a tokenizer, as transformers loads it, that we do not know how to cut.

    Raises:
        ModelError: no fast one, or one of another family.
    """
    name = tokenizer.name_or_path or type(tokenizer).__name__
    if not tokenizer.is_fast:
        raise ModelError(f"{name} has no fast tokenizer", "Convert it to a tokenizer.json first")
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    if family(spec) is None or spec["model"].get("dropout"):
        raise ModelError(
            f"the {spec['model']['type']} tokenizer of {name} cannot be cut: only byte-level BPE, "
            "SentencePiece BPE and Unigram are known",
            _REMEDY,
        )


def named(tokenizer: Any) -> set[int]:
    """The ids that a tokenizer puts around texts and behind them."""
    found = _Found()
    _around(json.loads(tokenizer.backend_tokenizer.to_str()), found)
    return {*found}


class _Found(dict[int, int]):
    """A numbering that leaves ids what they are, and notes them."""

    def __missing__(self, id_: int) -> int:
        return self.setdefault(id_, id_)


def cut(tokenizer: Any, kept: Ids, folder: Path) -> Ids:
    """Write the tokenizer with the entries `kept` alone into a folder: the old id of each new one,
    i32[n].

    Args:
        tokenizer: as transformers loads it.
        kept: closed, see `closure.closed`.

    Raises:
        ModelError: its class does not keep what its files say.
    """
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    order = _order(spec, kept)
    number = {int(old): new for new, old in enumerate(order)}
    tokenizer.save_pretrained(folder)
    for name in _OTHERS:
        (folder / name).unlink(missing_ok=True)
    edit(folder / "tokenizer.json", lambda spec: _renumber(spec, number))
    edit(folder / "tokenizer_config.json", lambda config: _configure(config, number))
    again: Tokenizer = cast(Any, type(tokenizer)).from_pretrained(folder).backend_tokenizer
    ids = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=True)
    wanted = {piece: number[id_] for piece, id_ in ids.items() if id_ in number}
    if again.get_vocab(with_added_tokens=True) != wanted:
        raise ModelError(
            f"{type(tokenizer).__name__} does not keep what its tokenizer.json says",
            _REMEDY,
        )
    return order


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON object in a file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _order(spec: Mapping[str, Any], kept: Ids) -> Ids:
    """Old ids as they are numbered: added tokens outside the model's vocabulary come last, since
    loading puts them there."""
    vocabulary: Any = spec["model"]["vocab"]
    if isinstance(vocabulary, list):
        inside = np.arange(len(cast(list[Any], vocabulary)))
    else:
        inside = np.fromiter(vocabulary.values(), np.int64)
    first = np.isin(kept, inside)
    return np.concatenate([kept[first], kept[~first]])


def _renumber(spec: dict[str, Any], number: Mapping[int, int]) -> None:
    """Drop entries from a tokenizer.json and give the others their new ids."""
    model = spec["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for id_, entry in enumerate(model["vocab"]) if id_ in number]
        if model["unk_id"] is not None:
            model["unk_id"] = number[model["unk_id"]]
    else:
        vocabulary = {piece: number[id_] for piece, id_ in model["vocab"].items() if id_ in number}
        model["vocab"] = dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))
        model["merges"] = [
            (a, b)
            for a, b in model["merges"]
            if a in vocabulary and b in vocabulary and a + b in vocabulary
        ]
    spec["added_tokens"] = [
        {**added, "id": number[added["id"]]}
        for added in spec["added_tokens"]
        if added["id"] in number
    ]
    _around(spec, number)


def _around(spec: dict[str, Any], number: Mapping[int, int]) -> None:
    """The ids that are put around texts and behind them."""
    if spec.get("padding"):
        spec["padding"]["pad_id"] = number[spec["padding"]["pad_id"]]
    if spec.get("post_processor"):
        _process(spec["post_processor"], number)


def _process(processor: dict[str, Any], number: Mapping[int, int]) -> None:
    for inner in processor.get("processors", ()):
        _process(inner, number)
    for side in ("sep", "cls"):
        if side in processor:
            token, id_ = processor[side]
            processor[side] = [token, number[id_]]
    template: dict[str, Any] = processor.get("special_tokens") or {}
    for entry in template.values():
        entry["ids"] = [number[id_] for id_ in entry["ids"]]


def _configure(config: dict[str, Any], number: Mapping[int, int]) -> None:
    if added := config.get("added_tokens_decoder"):
        config["added_tokens_decoder"] = {
            str(number[int(id_)]): token for id_, token in added.items() if int(id_) in number
        }
    if NEW_TOKENS in config:
        runs = NewTokens.from_json(config[NEW_TOKENS]).runs.items()
        config[NEW_TOKENS] = NewTokens(
            {number[id_]: tuple(number[base] for base in run) for id_, run in runs}
        ).to_json()
