"""The compiled hot path. `reference.py` says the same plainly.

`matching` finds where the last tokens occurred before, `mixing` turns that into candidates with
probabilities, `growing` into drafts, `learning` teaches mixing how far to believe what it sees.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile on first use, keep on disk, and divide by zero as numpy does."""
    return cast(F, njit(cache=True, error_model="numpy")(function))


def _drop_stale() -> None:
    """numba's disk cache notices an edit only in the edited file: forget what is older than any."""
    folder = Path(__file__).parent
    newest = max(source.stat().st_mtime for source in folder.glob("*.py"))
    for kept in (folder / "__pycache__").glob("*.nbi"):
        if kept.stat().st_mtime < newest:
            kept.unlink()


with suppress(OSError):  # installed where nobody may write, and nobody edits
    _drop_stale()
