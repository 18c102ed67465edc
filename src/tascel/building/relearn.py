"""A bundle like another one, learned from other records; most often in its own place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tascel.building.config import Source
from tascel.building.teach import in_time, teach
from tascel.bundle import Bundle, Progress
from tascel.errors import BundleError
from tascel.neural import FOLDER as NEURAL
from tascel.neural import read_neural
from tascel.records import Records
from tascel.selection import FACTS, IDS
from tascel.store.amend import Change, amend, new_name
from tascel.store.disk import entry_of, link_or_copy
from tascel.store.folder import current_manifest
from tascel.store.manifest import Manifest
from tascel.store.replace import write_folder


def like(
    bundle: Bundle,
    records: Records,
    counts: Mapping[str, int],
    command: Sequence[str] | None = None,
) -> Source:
    """These records as the source of another bundle of the same model and settings.

    Args:
        command: what to note in the manifest, None: what stands in that of `bundle`.
    """
    known = bundle.manifest
    command = known.command if command is None else command
    return Source(
        in_time(records), bundle.codec, known.model, known.weights, known.settings, counts, command
    )


def whole(path: str | Path, progress: Progress) -> tuple[Bundle, Records]:
    """A bundle and all it knows. Where the traces' labels are its tasks, exchanges that were
    learned online without one get that of their prompt's task.

    Raises:
        BundleError: no bundle, or a damaged one.
    """
    bundle, records = Bundle.with_records(path, progress=progress)
    names: list[str | None] = [task.name for task in bundle.tasks]
    built = bundle.manifest.counts["outputs"]
    if bundle.classifier is None or set(records.tasks[:built]) != set(names):
        return bundle, records
    labels = list(records.tasks)
    for at in range(built, len(records)):
        if labels[at] is None:
            about = bundle.reader.about(records.prompts[at])
            labels[at] = names[bundle.classifier.classify(about).task]
    return bundle, replace(records, tasks=labels)


def relearn(
    bundle: Bundle,
    read: Records,
    source: Source,
    progress: Progress,
    *,
    keep: bool,
    late: Callable[[Records], Records] = lambda some: some,
) -> Bundle:
    """Put a bundle that is learned from `source` in the place of `bundle`.

    What others learn into it meanwhile goes over into the new one.

    Args:
        read: all that `bundle` held when it was opened.
        keep: whether the ids that answers need and the neural drafts go over, too; these only if
            the tasks are still called the same.
        late: what of the exchanges that came meanwhile goes over.

    Raises:
        BundleError: another process has built it anew meanwhile, or it cannot be written.
    """
    path = bundle.path.resolve()
    _refuse_replaced(path, bundle)
    fill, known = teach(source, progress), read.keys()
    carried: set[str] = set()

    def write(folder: Path) -> Manifest:
        manifest = fill(folder)
        if keep:
            _keep(bundle, folder, [task.name for task in manifest.tasks])
        return manifest

    def settle() -> None:
        _refuse_replaced(path, bundle)
        carried.update(_late(bundle, known, late))

    write_folder(path, write, carried.__contains__, settle)
    return Bundle.open(path, bundle.given)


def _refuse_replaced(path: Path, bundle: Bundle) -> None:
    if current_manifest(path).base != bundle.manifest.base:
        raise BundleError(f"{path}: was replaced meanwhile", "Try again")


def _keep(bundle: Bundle, folder: Path, tasks: Sequence[str]) -> None:
    """Take over what others made for this bundle."""
    names = list(bundle.manifest.files)
    selection = [name for name in names if name in (IDS, FACTS)]
    neural = [name for name in names if name.startswith(f"{NEURAL}/")]
    if neural:
        try:
            read_neural(bundle.path, tasks)
        except BundleError:
            neural = []  # made for tasks that are no more
    for name in (*selection, *neural):
        link_or_copy(bundle.path.resolve() / name, folder / name)
        # damage would get a checksum of its own, and never be found
        if entry_of(folder / name) != bundle.manifest.files[name]:
            raise BundleError(
                f"{bundle.path}: {name} is not what was written (its checksum differs)",
                "The bundle is damaged: copy it again or rebuild it",
            )


def _late(
    bundle: Bundle, known: NDArray[np.uint64], late: Callable[[Records], Records]
) -> Collection[str]:
    """The names of the files that were learned since `bundle` was opened and go over.

    Such a file may hold what has been read already, since those who learn join their files.
    """
    path, carried = bundle.path.resolve(), set[str]()
    names = sorted(set(current_manifest(path).learned) - set(bundle.learned_files))
    for name in names:
        some = bundle.records_in(name)
        left = late(some.some(np.flatnonzero(~np.isin(some.keys(), known))))
        if not len(left):
            continue
        if len(left) < len(some):
            fresh = new_name()
            change = Change({fresh: left.write}, (name,))
            amend(path, lambda _, change=change: change)
            name = fresh
        carried.add(name)
    return carried
