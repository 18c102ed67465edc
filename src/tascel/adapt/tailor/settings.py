"""Where ids stand in config.json and generation_config.json, and what they become when entries are
numbered anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from tascel.errors import ModelError

#: Ids that generation never writes: those that are gone need no mention.
_NEVER = ("suppress_tokens", "begin_suppress_tokens")
#: Settings by id that stand for texts; we would have to guess what is meant without some of them.
_REFUSED = ("sequence_bias", "forced_decoder_ids", "force_words_ids", "constraints")


def named(model: Any, vocab_size: int) -> set[int]:
    """The ids of the tokenizer's vocabulary that a model's settings name.

    Raises:
        ModelError: settings by id that cannot be renumbered.
    """
    configs: list[dict[str, Any]] = [model.config.to_dict()]
    if model.generation_config is not None:
        configs.append(model.generation_config.to_dict())
    for name in _REFUSED:
        if any(config.get(name) for config in configs):
            raise ModelError(f"the model's {name} is by id", "Remove it from its settings first")
    return {
        id_
        for config in configs
        for _, _, value in _places(config)
        for id_ in _listed(value)
        if 0 <= id_ < vocab_size
    }


def renumber(config: dict[str, Any], number: Mapping[int, int]) -> None:
    """Give every id in a configuration its new number; what has none is left out."""
    for inside, key, value in [*_places(config)]:
        ids = [number[id_] for id_ in _listed(value) if id_ in number]
        inside[key] = ids if isinstance(value, list) else ids[0] if ids else None
    for key in _NEVER:
        if config.get(key):
            config[key] = [number[id_] for id_ in config[key] if id_ in number]
    if words := config.get("bad_words_ids"):
        kept = [word for word in words if all(id_ in number for id_ in word)]
        config["bad_words_ids"] = [[number[id_] for id_ in word] for word in kept] or None


def _places(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Each setting that is an id or a list of ids, and in which object it stands."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _places(cast(dict[str, Any], value))
        elif str(key).endswith(("_token_id", "_token_ids")) and value is not None:
            yield config, key, value


def _listed(value: Any) -> list[int]:
    return cast(list[int], value) if isinstance(value, list) else [value]
