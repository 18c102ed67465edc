"""What was learned as arrays on disk, one a file. None of them is trusted when read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.draft.corpus import Corpus
from tascel.draft.kernels import copying, evidence
from tascel.draft.knowledge import Knowledge
from tascel.draft.neighbours import Neighbours
from tascel.draft.trust import Trust
from tascel.errors import BundleError
from tascel.route.classify import Classifier
from tascel.route.policy import WIDEST, Tally
from tascel.store.folder import map_array

TRUST = "trust.npy"
_MOST_COUNTED = 2.0**53
_REBUILD = "The bundle is damaged: copy it again or rebuild it"


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What traces teach, and how far to trust it."""

    knowledge: Knowledge
    trust: Trust


def write_learned(folder: Path, learned: Learned) -> None:
    """One array a file, into a new folder."""
    folder.mkdir()
    for name, array in _arrays(learned.knowledge).items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / TRUST, learned.trust)


def _arrays(known: Knowledge) -> dict[str, NDArray[Any]]:
    neighbours = known.neighbours
    return {
        "text": known.corpus.text, "array": known.corpus.array,
        "templates": known.templates.text, "templates-array": known.templates.array,
        "places": known.places, "frozen": known.frozen, "pointer": known.pointer,
        "features": neighbours.keys, "weights": neighbours.weights, "starts": neighbours.starts,
        "traces": neighbours.traces, "masses": neighbours.masses,
    }  # fmt: skip


def read_learned(folder: Path, vocab_size: int) -> Learned:
    """What `write_learned` wrote, mapped.

    Raises:
        BundleError: missing, damaged, or sizes that do not fit each other.
    """

    def read(name: str, dtype: type[Any] = np.int32) -> NDArray[Any]:
        array = map_array(folder / f"{name}.npy", dtype)
        # the kernels note positions as i32
        if array.ndim != 1 or len(array) >= 2**31:
            raise BundleError(f"{folder / name}.npy: has an impossible shape", _REBUILD)
        return array

    known = Knowledge(
        Corpus(read("text"), read("array")),
        Corpus(read("templates"), read("templates-array")),
        read("places"),
        read("frozen", np.uint8),
        read("pointer", np.float32),
        Neighbours(
            read("features", np.uint32),
            read("weights", np.uint16),
            read("starts"),
            read("traces"),
            read("masses"),
        ),
    )
    for corpus in (known.corpus, known.templates):
        if len(corpus.text) != len(corpus.array):
            raise BundleError(f"{folder}: text and suffix array do not fit", _REBUILD)
    if len(known.frozen) != vocab_size or len(known.pointer) != copying.POINTS:
        raise BundleError(f"{folder}: was learned for another vocabulary or version", _REBUILD)
    return Learned(known, _read_trust(folder / TRUST))


def _read_trust(path: Path) -> Trust:
    trust = np.array(map_array(path, np.float32), order="C")  # as the kernels are compiled for
    if trust.shape != (2, evidence.CELLS) or not np.isfinite(trust).all():
        raise BundleError(f"{path}: holds no trust of this version", _REBUILD)
    return trust


def write_router(
    folder: Path, classifier: Classifier, tallies: Sequence[tuple[Tally, Tally]]
) -> None:
    """Who tells tasks apart, and what drafts made of held-out answers, into a new folder."""
    folder.mkdir()
    for field in fields(classifier):
        np.save(folder / f"{field.name}.npy", getattr(classifier, field.name))
    counted = [[[t.tokens, *t.passes] for t in pair] for pair in tallies]
    np.save(folder / "tallies.npy", np.array(counted, np.float64))


def read_router(folder: Path, tasks: int) -> tuple[Classifier, list[tuple[Tally, Tally]]]:
    """What `write_router` wrote.

    Raises:
        BundleError: missing, damaged, or of another number of tasks.
    """
    kinds: dict[str, type[Any]] = {"known": np.uint32, "weights": np.float16}
    arrays = {
        field.name: map_array(folder / f"{field.name}.npy", kinds.get(field.name, np.float32))
        for field in fields(Classifier)
    }
    counted = map_array(folder / "tallies.npy", np.float64)
    try:
        classifier = Classifier(**arrays)
    except ValueError as reason:
        raise BundleError(f"{folder}: {reason}", _REBUILD) from None
    if counted.shape != (tasks, 2, WIDEST + 2) or len(classifier.bias) != tasks:
        raise BundleError(f"{folder}: does not fit {tasks} tasks", _REBUILD)
    if len(classifier.dense):
        raise BundleError(f"{folder}: was learned with embeddings", _REBUILD)
    for name, array in {**arrays, "tallies": counted}.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{folder / name}.npy: holds what is no number", _REBUILD)
    if (counted < 0).any() or (counted > _MOST_COUNTED).any():
        raise BundleError(f"{folder / 'tallies.npy'}: counts the impossible", _REBUILD)
    pairs = [[Tally(float(row[0]), row[1:]) for row in pair] for pair in counted]
    return classifier, [(own, pooled) for own, pooled in pairs]
