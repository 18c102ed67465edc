"""A bundle's folder on disk, read: seen to be whole, checksummed, mapped into memory.

Knows files and arrays, not what they mean. Whole folders are written in replace.py, single files of
a bundle in use in amend.py.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tascel.errors import BundleError
from tascel.store.disk import sha256
from tascel.store.manifest import VERSION, Manifest

T = TypeVar("T")
Scalar = TypeVar("Scalar", bound=np.generic)
_SMALL = 1 << 20  # bytes


def open_folder(path: str | Path) -> Manifest:
    """Read a bundle's manifest, and see that every file it lists is there in its full size.

    Raises:
        BundleError: it is no bundle, or a damaged, older or newer one.
    """
    return read_folder(path, lambda manifest: manifest)


def check_folder(path: str | Path) -> Manifest:
    """Open a bundle and verify every checksum.

    Raises:
        BundleError: as `open_folder`, or a file's content has changed.
    """
    folder = Path(path)

    def check(manifest: Manifest) -> Manifest:
        for name, entry in manifest.files.items():
            try:
                found = sha256(folder / name)
            except OSError as reason:
                raise _damaged(folder, f"{name} cannot be read ({reason.strerror})") from None
            if found != entry.sha256:
                raise _damaged(folder, f"{name} is not what was written (its checksum differs)")
        return manifest

    return read_folder(folder, check)


def read_folder(path: str | Path, read: Callable[[Manifest], T]) -> T:
    """What `read` makes of the bundle at `path`, of one build of it and of what had been learned at
    one moment. Where another process put a new bundle there meanwhile, or merged files away, `read`
    is called again.

    Raises:
        BundleError: as `open_folder`, or as `read`.
    """
    folder = Path(path)
    while True:
        manifest = current_manifest(folder)
        try:
            _see_files(folder, manifest)
            made = read(manifest)
        except (BundleError, OSError):
            if Manifest.read(folder) == manifest:
                raise
            continue
        # The name of a learned file stands for one content, so only the others can have changed.
        if Manifest.read(folder).base == manifest.base:
            return made


def current_manifest(folder: Path) -> Manifest:
    """A bundle's manifest, read only.

    Raises:
        BundleError: it is no bundle, or an older or newer one.
    """
    manifest = Manifest.read(folder)
    if manifest.version < VERSION:
        raise BundleError(
            f"{folder}: was built by tascel {manifest.tascel_version}, in a format of its own",
            "Build it again with `tascel build`",
        )
    return manifest


def _see_files(folder: Path, manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        try:
            found = (folder / name).stat()
        except (OSError, ValueError):
            raise _damaged(folder, f"{name} is missing") from None
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry.bytes:
            raise _damaged(folder, f"{name} has {found.st_size} bytes, not {entry.bytes}")


def map_array(path: str | Path, dtype: type[Scalar]) -> NDArray[Scalar]:
    """A `.npy` file, read-only: mapped and shared by processes, or read where it is small, since
    each mapping keeps a file open.

    Raises:
        BundleError: it cannot be read, is no `.npy` file, is truncated, or is not of `dtype`.
    """
    try:
        if Path(path).stat().st_size < _SMALL:
            with Path(path).open("rb") as file:
                array: Any = np.lib.format.read_array(file, allow_pickle=False)
            array.setflags(write=False)
        else:
            mapped: Any = np.lib.format.open_memmap(path, mode="r")  # never unpickles
            array = np.asarray(mapped)  # a memmap's own class makes every slice slow
    except Exception as reason:  # the header is Python text, which can be wrong in every way
        raise _damaged(Path(path), f"is no readable array ({reason})") from None
    if array.dtype != dtype:
        raise _damaged(Path(path), f"holds {array.dtype} where {np.dtype(dtype)} belongs")
    return array


def _damaged(path: Path, what: str) -> BundleError:
    return BundleError(f"{path}: {what}", "The bundle is damaged: copy it again or rebuild it")
