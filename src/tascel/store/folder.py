"""A bundle's folder on disk: written whole or not at all, listed, checksummed, mapped into memory.

Knows files and arrays, not what they mean. What is changed in place is in amend.py.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tascel.errors import BundleError
from tascel.store.file import is_full
from tascel.store.lock import locked
from tascel.store.manifest import (
    LEARNED,
    NAME,
    PARTIAL,
    VERSION,
    FileEntry,
    Manifest,
    is_leftover,
)

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
Scalar = TypeVar("Scalar", bound=np.generic)
_SMALL = 1 << 20  # bytes
_SWAP = 60.0  # seconds to wait for those who change the former bundle, each for some milliseconds


def write_folder(
    path: str | Path,
    fill: Callable[[Path], Manifest],
    carry: Callable[[str], bool] = lambda name: False,
    settle: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write a bundle folder so that whoever opens `path` sees the former one or the new one, whole.

    `fill` writes its files into the empty folder it is given and returns a manifest without
    `files`; they are listed, checksummed and flushed to the disk here. An existing bundle is
    replaced only when all of that has worked; nothing else is ever replaced. Until then others may
    go on to learn into it.

    Args:
        path: where the bundle shall be.
        fill: writes the files, none of them under `learned`.
        carry: which of the files under `learned` that the former bundle has in its last moment go
            over into the new one; the others are gone with it.
        settle: called when all is written and nobody else changes the former bundle any more; it
            may amend that. Then `carry` is asked.

    Raises:
        BundleError: `path` holds something that is not just a bundle, another process is writing
            it, the disk is full, or the folder cannot be written.
    """
    path = Path(path).resolve()
    refuse_foreign(path)
    with writing(path, ours=False), ExitStack() as locks:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = _workspace(path, locks)
        try:
            manifest = _sealed(folder, fill(folder))
            if path.exists():
                locks.enter_context(locked(path, _SWAP))
            refuse_foreign(path)
            settle()
            manifest = _carried(path, folder, manifest, carry)
            put_manifest(folder, manifest)
            _put(folder, path, locks)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        flush(path.parent)
    return manifest


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
                found = _sha256(folder / name)
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


def clear_beside(path: str | Path) -> None:
    """Remove what killed processes left beside the bundle at `path`: half-written ones, and the
    former one.

    Raises:
        BundleError: no bundle is there, or another process is writing it.
    """
    path = Path(path).resolve()
    current_manifest(path)  # else the former one is all there is
    with writing(path, ours=True), ExitStack() as locks:
        shutil.rmtree(_workspace(path, locks))
        former = path.with_name(f".{path.name}.former")
        if former.exists():
            shutil.rmtree(former)


def refuse_foreign(path: Path) -> None:
    """Only an absent path, an empty folder, or a bundle without strangers may be replaced.

    Raises:
        BundleError: `path` holds anything else.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise BundleError(f"{path}: is a file", "Choose another folder for the bundle")
    if not any(path.iterdir()):
        return
    try:
        known = {NAME, *Manifest.read(path).files}
    except BundleError as reason:
        raise BundleError(
            f"{path}: is not empty and no bundle that can be replaced ({reason.what})",
            "Choose another folder, or remove this one yourself",
        ) from None
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if not (file.is_dir() or name in known or is_leftover(name)):
            raise BundleError(
                f"{path}: holds {file.name}, which is no part of the bundle",
                "Move it away, or choose another folder for the bundle",
            )


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


def _workspace(path: Path, locks: ExitStack) -> Path:
    """An empty folder beside `path`, locked against other writers.

    The name is fixed, so what a killed process left behind is found and reused by the next one.
    """
    folder = path.with_name(f".{path.name}.writing")
    _lock(folder, path, locks)
    for leftover in folder.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return folder


def _lock(folder: Path, bundle: Path, locks: ExitStack) -> None:
    """Make `folder` if need be, and hold its lock until `locks` is left or the process dies."""
    while True:
        folder.mkdir(exist_ok=True)
        if sys.platform == "win32":
            return  # folders cannot be locked there
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process has just moved it away
        locks.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(
                f"{bundle}: another process is writing this bundle", "Wait for it, or stop it"
            ) from None
        except OSError:
            return  # nor on some network file systems
        if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
            return


def _sealed(folder: Path, manifest: Manifest) -> Manifest:
    """List and checksum the files, and flush all of them to the disk."""
    manifest = replace(manifest, files=dict(_listed(folder)))
    for inside in (folder, *folder.rglob("*")):
        flush(inside)
    return manifest


def _listed(folder: Path) -> Iterator[tuple[str, FileEntry]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), entry_of(file)


def _carried(
    path: Path, folder: Path, manifest: Manifest, carry: Callable[[str], bool]
) -> Manifest:
    """`manifest` with the former bundle's learned files that go over into `folder`."""
    former = Manifest.read(path).learned if (path / NAME).exists() else {}
    kept = {name: entry for name, entry in former.items() if carry(name)}
    for name in kept:
        link_or_copy(path / name, folder / name)
        flush(folder / name)
    if kept:
        flush(folder / LEARNED)
    return replace(manifest, files={**manifest.files, **kept})


def link_or_copy(source: Path, target: Path) -> None:
    """The file `source` under another name too, or a copy where a file system knows no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def put_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into `folder`, in place of a former one, and flush it to the disk."""
    partial = folder / PARTIAL
    partial.write_text(manifest.to_json(), encoding="utf-8")
    flush(partial)
    partial.replace(folder / NAME)
    flush(folder)


def entry_of(file: Path) -> FileEntry:
    """Size and checksum of a file."""
    return FileEntry(bytes=file.stat().st_size, sha256=_sha256(file))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put(folder: Path, path: Path, locks: ExitStack) -> None:
    """Move `folder` to `path`, and remove the bundle that stood there."""
    if not path.exists():
        folder.rename(path)
        return
    _lock(path, path, locks)  # or else another writer could take the former bundle for leftovers
    if not _exchange(folder, path):
        former = path.with_name(f".{path.name}.former")
        shutil.rmtree(former, ignore_errors=True)
        path.rename(former)
        try:
            folder.rename(path)
        except BaseException:
            former.rename(path)
            raise
        former.rename(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step, where the system can (Linux since 3.15)."""
    if sys.platform != "linux":
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return renameat2(here, os.fsencode(a), here, os.fsencode(b), swap) == 0
