"""An exported model as an engine, from its folder."""

from __future__ import annotations

from pathlib import Path

from tascel.engines.opened import Opened
from tascel.engines.openvino.engine import OpenVinoEngine
from tascel.engines.openvino.folder import read_facts
from tascel.engines.profile import Setting, machine
from tascel.store.manifest import public_command


def open_export(
    folder: str | Path,
    dtype: str = "auto",
    *,
    drafts: bool = True,
    cache_tokens: int | None = None,
) -> Opened:
    """Load what `tascel export --to openvino` wrote. Raises as `OpenVinoEngine`."""
    engine = OpenVinoEngine(
        folder, dtype=dtype, cache_tokens=cache_tokens, allow_no_drafts=not drafts
    )
    setting = Setting(
        model=" ".join(public_command([str(folder)])),
        weights=read_facts(folder).weights,
        device="cpu",
        dtype=engine.dtype,
        threads=engine.threads,
        runtime=engine.runtime,
        machine=machine(),
    )
    return Opened(engine, setting)
