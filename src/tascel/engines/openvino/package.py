"""OpenVINO itself, which need not be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tascel.errors import ModelError


def openvino(part: str = "openvino") -> Any:
    """A module of OpenVINO, untyped.

    Raises:
        ModelError: it is not installed.
    """
    try:
        return import_module(part)
    except ImportError as error:
        raise ModelError(
            "running an exported model needs openvino", "pip install 'tascel[openvino]'"
        ) from error
