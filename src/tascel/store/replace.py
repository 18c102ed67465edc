"""A bundle's folder takes the place of another one, or of none: whole or not at all."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tascel.errors import BundleError
from tascel.store.disk import entry_of, flush, link_or_copy, put_manifest, writing
from tascel.store.folder import current_manifest
from tascel.store.lock import locked
from tascel.store.manifest import LEARNED, NAME, FileEntry, Manifest, is_leftover

if sys.platform != "win32":
    import fcntl

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
