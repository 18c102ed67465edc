"""What a user tells the proposer, and what of vLLM it can work with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tascel.errors import TascelError

#: Versions whose interface for proposers is the one we speak: from the first, before the second.
VERSIONS = (0, 32), (0, 34)


@dataclass(frozen=True, slots=True)
class Options:
    """What stands under "tascel" in vLLM's `additional_config`.

    `bundle` is a folder; `price` a price file or the name of a kept one, otherwise the one that
    `tascel profile --engine vllm` measured for this model and machine.
    """

    bundle: str
    price: str | None = None

    @staticmethod
    def of(additional_config: Any) -> Options:
        """The options in `additional_config`.

        Raises:
            TascelError: there are none, or some that nobody knows.
        """
        remedy = """Start vLLM with --additional-config '{"tascel": {"bundle": "FOLDER"}}'"""
        given: Any = None
        if isinstance(additional_config, Mapping):
            given = additional_config.get("tascel")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(given, Mapping):
            raise TascelError("additional_config says nothing under tascel", remedy)
        options: dict[str, Any] = {**given}
        names = [field.name for field in fields(Options)]
        if unknown := sorted(map(str, options.keys() - {*names})):
            raise TascelError(
                f"additional_config: tascel has no option {', '.join(unknown)}",
                f"It has {' and '.join(names)}",
            )
        if not isinstance(options.get("bundle"), str):
            raise TascelError("additional_config names no bundle under tascel", remedy)
        if not isinstance(options.get("price"), str | None):
            raise TascelError(
                "additional_config: tascel's price is no text", "Give the path of a price file"
            )
        return Options(**options)


def check_version(version: str) -> None:
    """Refuse a vLLM whose proposers may be called differently.

    Raises:
        TascelError: `version` lies outside of `VERSIONS`.
    """
    (low_major, low_minor), (high_major, high_minor) = VERSIONS
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or not VERSIONS[0] <= (int(numbers[1]), int(numbers[2])) < VERSIONS[1]:
        raise TascelError(
            f"this is vLLM {version}; the proposer knows {low_major}.{low_minor} up to before "
            f"{high_major}.{high_minor}, others may call it differently",
            "Install a vLLM of that range, or a tascel that knows this one",
        )
