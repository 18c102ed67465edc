"""Writing a bundle: its files all at once, or its selection or neural drafts anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import filterfalse
from pathlib import Path

from tascel.bundle import ALL, RECORDS, ROUTER, TOKENIZER, Bundle, Task
from tascel.codec import Codec
from tascel.errors import BundleError
from tascel.learned import Learned, write_learned, write_router
from tascel.neural import FOLDER as NEURAL
from tascel.neural import Neural, write_neural
from tascel.records import Records, write_records
from tascel.route.classify import Classifier
from tascel.selection import FACTS, IDS, Selection, write_selection
from tascel.store.disk import link_or_copy
from tascel.store.folder import check_folder
from tascel.store.manifest import Manifest
from tascel.store.replace import write_folder

SUMMARY = "SUMMARY.md"


def fill(
    folder: Path,
    codec: Codec,
    learned: Learned,
    summary: str,
    records: Records,
    tasks: Sequence[Task] = (),
    classifier: Classifier | None = None,
) -> None:
    """Write a bundle's files, all but the manifest, into an empty folder."""
    codec.save(folder / TOKENIZER)
    write_records(folder / RECORDS, records)
    write_learned(folder / ALL, learned)
    for at, task in enumerate(tasks):
        write_learned(folder / f"task-{at:03}", task.learned)
    if classifier is not None:
        write_router(folder / ROUTER, classifier, [task.tallies for task in tasks])
    (folder / SUMMARY).write_text(summary, encoding="utf-8")


def put_selection(path: str | Path, selection: Selection, codec: Codec) -> Manifest:
    """Store what answers need in the bundle at `path`, in place of a former selection. Its other
    files stay what they are.

    Args:
        codec: of the model that the selection is for.

    Raises:
        BundleError: no bundle, a damaged one, or one of another tokenizer; or it cannot be written.
    """
    return _put(
        path,
        codec,
        lambda name: name in (IDS, FACTS),
        lambda folder: write_selection(folder, selection),
    )


def put_neural(
    path: str | Path, neural: Neural, adapters: Sequence[Path], codec: Codec
) -> Manifest:
    """Store neural drafts in the bundle at `path`, in place of former ones. Its other files stay
    what they are.

    Args:
        adapters: PEFT folders, one for each of the drafts.
        codec: of the model that they are cut from.

    Raises:
        BundleError: no bundle, a damaged one, or one of another tokenizer; or it cannot be written.
    """
    return _put(
        path,
        codec,
        lambda name: name.startswith(f"{NEURAL}/"),
        lambda folder: write_neural(folder, neural, adapters),
    )


def _put(
    path: str | Path,
    codec: Codec,
    former: Callable[[str], bool],
    write: Callable[[Path], None],
) -> Manifest:
    """Write some files of the bundle at `path` anew; those for which `former` holds go."""
    path = Path(path)
    bundle = Bundle.open(path, codec)

    def fill(folder: Path) -> Manifest:
        # Damage would get a checksum of its own, and never be found.
        manifest = check_folder(path)
        if manifest.base != bundle.manifest.base:
            raise BundleError(f"{path}: was replaced meanwhile", "Try again")
        for name in filterfalse(former, manifest.base):
            link_or_copy(path.resolve() / name, folder / name)
        write(folder)
        return manifest

    return write_folder(path, fill, carry=lambda name: True)
