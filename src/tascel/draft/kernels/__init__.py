"""The compiled hot path. `draft/reference/` says the same plainly.

`matching` finds where the last tokens occurred before, `copying` what an answer takes from its
prompt, `recalling` what similar prompts got, `retrieval` which those are; `placing` is where an
answer stands in all of it, `gathering` what each source says of the next token, `evidence` what
that is worth, `rules` how others read it, `mixing` one interface for these; `growing` makes drafts
of it, `learning` teaches how far to believe.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def digest(folder: Path) -> str:
    """Names what all the sources in `folder` say."""
    sources = b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))
    return sha256(sources).hexdigest()[:12]


#: A kernel holds the code of those it calls, but numba's disk cache, wherever it is, looks only at
#: the file that the kernel stands in: so what is kept is named after all of them.
VERSION = digest(Path(__file__).parent)


def kernel(function: F) -> F:
    """Compile on first use, keep on disk, and divide by zero as numpy does."""
    return _compiled(function)


def part(function: F) -> F:
    """As `kernel`, for what kernels call again and again: it makes no array, nor does any part that
    it calls. So numba need not count references, which would take longer than the work."""
    return _compiled(function, _nrt=False)


def _compiled(function: F, **options: bool) -> F:
    function.__qualname__ += f"-{VERSION}"
    compiler = cast(Callable[..., Callable[[F], F]], njit)
    try:
        return compiler(cache=True, error_model="numpy", **options)(function)
    except RuntimeError:  # nowhere to keep it: every start compiles again
        return compiler(error_model="numpy", **options)(function)


def _drop_stale() -> None:
    """Edits leave kernels behind that nobody will ask for."""
    for kept in (Path(__file__).parent / "__pycache__").glob("*.nb[ic]"):
        if VERSION not in kept.name:
            kept.unlink(missing_ok=True)


with suppress(OSError):  # installed where nobody may write, and nobody edits
    _drop_stale()
