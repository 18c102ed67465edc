"""Steps of whoever changes a bundle's folder: files flushed, linked, listed; what may go wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tascel.errors import BundleError
from tascel.store.file import is_full
from tascel.store.manifest import NAME, PARTIAL, FileEntry, Manifest


@contextmanager
def writing(path: Path, ours: bool) -> Generator[None]:
    """What the system says while the bundle at `path` is written, in our words.

    Args:
        path: the bundle's folder, resolved.
        ours: whether the block does nothing but write it; else an error may be about something
            that it reads, and such a one is left alone.

    Raises:
        BundleError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as reason:
        if is_full(reason):
            raise BundleError(
                f"{path}: the disk is full, nothing was changed", "Free some space and try again"
            ) from reason
        named = Path(reason.filename if isinstance(reason.filename, str) else "")
        if not ours and not named.is_relative_to(path.parent) and named not in path.parents:
            raise
        raise BundleError(
            f"{path}: cannot be written ({reason.strerror})", "Choose a folder you may write to"
        ) from reason


def put_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into `folder`, in place of a former one, and flush it to the disk."""
    partial = folder / PARTIAL
    partial.write_text(manifest.to_json(), encoding="utf-8")
    flush(partial)
    partial.replace(folder / NAME)
    flush(folder)


def entry_of(file: Path) -> FileEntry:
    """Size and checksum of a file."""
    return FileEntry(bytes=file.stat().st_size, sha256=sha256(file))


def sha256(file: Path) -> str:
    """The checksum of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """The file `source` under another name too, or a copy where a file system knows no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
