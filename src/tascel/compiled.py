"""Compiling Python for hot paths, and keeping what was compiled on disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def digest(folder: Path) -> str:
    """Names what all the sources in `folder` say, and how this file compiles them."""
    files = [*sorted(folder.glob("*.py")), Path(__file__)]
    sources = b"".join(file.read_bytes() for file in files)
    return sha256(sources).hexdigest()[:12]


@cache
def version(folder: Path) -> str:
    """The `digest` of a folder when its first kernel was met; kernels of others are dropped.

    A kernel holds the code of those it calls, but numba's disk cache looks only at the file that
    the kernel stands in: so what is kept is named after all files beside it, and kernels call none
    of another folder.
    """
    found = digest(folder)
    with suppress(OSError):  # installed where nobody may write, and nobody edits
        for kept in (folder / "__pycache__").glob("*.nb[ic]"):
            if found not in kept.name:
                kept.unlink(missing_ok=True)
    return found


def kernel(function: F) -> F:
    """Compile on first use, keep on disk, and divide by zero as numpy does. Other threads run
    meanwhile: what learns in the background does not hold up what decodes."""
    return _compiled(function, nogil=True)


def part(function: F) -> F:
    """As `kernel`, for what kernels call again and again: it makes no array, nor does any part that
    it calls. So numba need not count references, which would take longer than the work."""
    return _compiled(function, _nrt=False)


def piece(function: F) -> F:
    """As `part`, and copied to wherever it is called: tuples of arrays are handed over number by
    number, which would take longer than the work."""
    return _compiled(function, _nrt=False, forceinline=True)


def _compiled(function: F, **options: bool) -> F:
    function.__qualname__ += f"-{version(Path(function.__code__.co_filename).parent)}"
    compiler = cast(Callable[..., Callable[[F], F]], njit)
    try:
        return compiler(cache=True, error_model="numpy", **options)(function)
    except RuntimeError:  # nowhere to keep it: every start compiles again
        return compiler(error_model="numpy", **options)(function)
