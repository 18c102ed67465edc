"""A bundle that is in use gets files and loses files, and is whole at every moment.

A file's name is new each time and stands for one content forever; what counts is what the manifest
lists. So whoever is killed in here leaves either bundle, and at most a file that no manifest lists.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tascel.errors import BundleError
from tascel.store.disk import entry_of, flush, put_manifest, writing
from tascel.store.folder import current_manifest
from tascel.store.lock import locked
from tascel.store.manifest import LEARNED, PARTIAL, FileEntry, Manifest, is_leftover

Write = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Change:
    """What shall become of a bundle's learned files.

    `add` maps new names, made by `new_name`, to what writes such a file at the path it is given;
    `drop` are names that the manifest lists.
    """

    add: Mapping[str, Write] = field(default_factory=dict[str, Write])
    drop: Collection[str] = ()


def new_name() -> str:
    """A name for a file of what was learned, like no other: `learned/<32 hex digits>.npz`."""
    return f"{LEARNED}/{uuid.uuid4().hex}.npz"


def amend(path: str | Path, change: Callable[[Manifest], Change], wait: float = 10.0) -> Manifest:
    """Add learned files to the bundle at `path` and take some away, in one step.

    Files that a killed process left unlisted are removed on the way.

    Args:
        path: the bundle's folder.
        change: says what to do with the bundle of this manifest, which stays as it is meanwhile;
            what it raises ends this without a change.
        wait: how long to wait for others who change the bundle, in seconds.

    Returns:
        The manifest as it is now.

    Raises:
        BundleError: no bundle, or an older or newer one; another process is writing it; the disk is
            full, or the folder cannot be written. Nothing was changed then, unless the manifest
            was written and the disk failed to say so: who tries again looks for its names in it.
    """
    path = Path(path).resolve()
    current_manifest(path)  # before a lock file is made beside what is no bundle
    with locked(path, wait):
        before = current_manifest(path)
        wanted = change(before)
        with writing(path, ours=True):
            _sweep(path, before)
            if not wanted.add and not wanted.drop:
                return before
            return _amended(path, before, wanted)


def _amended(path: Path, before: Manifest, wanted: Change) -> Manifest:
    """Write what is added, then the manifest; only then remove what is dropped."""
    if unknown := sorted(set(wanted.drop) - set(before.learned)):
        raise BundleError(f"{path}: has no {unknown[0]} that could be dropped", "Read it again")
    try:
        added = _added(path, wanted.add)
        kept = {name: entry for name, entry in before.files.items() if name not in wanted.drop}
        after = replace(before, files={**kept, **added})
        put_manifest(path, after)
    except BaseException:
        with suppress(OSError, BundleError):
            _sweep(path, current_manifest(path))
        raise
    _sweep(path, after)
    return after


def _added(path: Path, add: Mapping[str, Write]) -> dict[str, FileEntry]:
    folder = path / LEARNED
    if add and not folder.exists():
        folder.mkdir()
        flush(path)
    entries: dict[str, FileEntry] = {}
    for name, write in add.items():
        write(path / name)
        flush(path / name)
        entries[name] = entry_of(path / name)
    if add:
        flush(folder)
    return entries


def _sweep(path: Path, manifest: Manifest) -> None:
    """Remove files under `learned` that this manifest does not list, and a half-written one."""
    for name in (PARTIAL, *(f"{LEARNED}/{file.name}" for file in (path / LEARNED).glob("*"))):
        if name not in manifest.files and is_leftover(name):
            (path / name).unlink(missing_ok=True)
