"""Where tascel keeps what it can make again: models, prices, downloads."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder(part: str = "") -> Path:
    """The user's cache folder for `part`; TASCEL_CACHE overrides where the whole lies."""
    root = os.environ.get("TASCEL_CACHE")
    return (Path(root) if root else user_cache_path("tascel")) / part
