"""A single file, written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from tascel.errors import TascelError


def is_full(reason: OSError) -> bool:
    """Whether there is no room. numpy reports a short write without an errno."""
    return reason.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(reason)


@contextmanager
def whole_file(path: Path) -> Generator[TextIO]:
    """A text file (UTF-8) that takes the place of `path` only if the block ends well.

    Links are followed. What is no regular file, such as a pipe, is written into directly.

    Raises:
        TascelError: `path` cannot be written, or the disk is full.
    """
    inside = False  # the block's own errors are not about this file
    try:
        with _opened(path) as file:
            inside = True
            yield file
            inside = False
    except BrokenPipeError:
        raise  # who reads has had enough
    except OSError as reason:
        if is_full(reason):
            raise TascelError(
                f"{path}: the disk is full", "Free some space, or write to another place"
            ) from reason
        if inside:
            raise
        raise TascelError(
            f"{path}: cannot be written ({reason.strerror})", "Choose a file you may write to"
        ) from reason


@contextmanager
def _opened(path: Path) -> Generator[TextIO]:
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".tascel-") as folder:
        partial = Path(folder) / target.name
        with partial.open("w", encoding="utf-8") as file:
            yield file
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
