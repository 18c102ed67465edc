"""A bundle: everything learned of a task, as one folder that goes with one tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tascel.codec import Codec
from tascel.draft.corpus import Corpus
from tascel.draft.kernels import copying, evidence
from tascel.draft.knowledge import Knowledge
from tascel.draft.neighbours import Neighbours
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.reader import Reader
from tascel.draft.trust import Trust
from tascel.errors import BundleError
from tascel.store.folder import map_array, open_folder
from tascel.store.manifest import Manifest

TOKENIZER = "tokenizer"
SEGMENT = "all"
TRUST = "trust.npy"
SUMMARY = "SUMMARY.md"
_REBUILD = "The bundle is damaged: copy it again or rebuild it"


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle. Its arrays are mapped, not read: opening takes no time at any size.

    `given` is the codec it was opened for, None if it shall use its own.
    """

    path: Path
    manifest: Manifest
    knowledge: Knowledge
    trust: Trust
    given: Codec | None = None

    @staticmethod
    def open(path: str | Path, codec: Codec | None = None) -> Bundle:
        """Open the bundle at `path`, for the model whose `codec` is given (default: its own copy,
        loaded when it is needed: drafting needs none).

        Raises:
            BundleError: missing, damaged, newer, or built with another tokenizer.
        """
        path = Path(path)
        while True:
            opened = Bundle._read(path, open_folder(path), codec)
            # Another process may have put a new bundle here while its files were opened one by one.
            if Manifest.read(path) == opened.manifest:
                return opened

    @staticmethod
    def _read(path: Path, manifest: Manifest, codec: Codec | None) -> Bundle:
        if codec is not None and codec.fingerprint != manifest.tokenizer:
            raise BundleError(
                f"{path}: was built with the tokenizer of {manifest.model}, which writes other ids "
                "than this model's",
                "Use that model, or build a bundle for this one with `tascel build`",
            )
        if manifest.segments != (SEGMENT,):
            raise BundleError(f"{path}: has segments {manifest.segments}", _REBUILD)
        folder = path / SEGMENT
        knowledge = read_knowledge(folder, manifest.vocab_size)
        return Bundle(path, manifest, knowledge, _read_trust(folder / TRUST), codec)

    @property
    def corpus(self) -> Corpus:
        """All outputs that were learned."""
        return self.knowledge.corpus

    @cached_property
    def codec(self) -> Codec:
        """The tokenizer that the bundle was opened for, else its own copy.

        Raises:
            BundleError, ModelError: its own copy is another tokenizer, or none.
        """
        if self.given is not None:
            return self.given
        codec = Codec.from_pretrained(self.path / TOKENIZER)
        if codec.fingerprint != self.manifest.tokenizer:
            raise BundleError(
                f"{self.path}: its tokenizer is not the one it was built with", _REBUILD
            )
        return codec

    @cached_property
    def reader(self) -> Reader:
        """Reads prompts with the codec's tokenizer, or with the bundle's copy of it."""
        if self.given is not None:
            return Reader(self.given.tokenizer)
        try:
            return Reader(Tokenizer.from_file(str(self.path / TOKENIZER / "tokenizer.json")))
        except Exception as reason:  # tokenizers raises bare Exceptions
            raise BundleError(f"{self.path}: has no tokenizer.json ({reason})", _REBUILD) from None

    def draft(self, config: DraftConfig | None = None) -> NgramDraft:
        """The draft for requests of this task, kernels compiled."""
        draft = NgramDraft(self.knowledge, self.trust, self.reader, self.manifest.eos_ids, config)
        draft.warm()
        return draft


def fill(folder: Path, codec: Codec, knowledge: Knowledge, trust: Trust, summary: str) -> None:
    """Write a bundle's files, all but the manifest, into an empty folder."""
    codec.save(folder / TOKENIZER)
    (folder / SEGMENT).mkdir()
    write_knowledge(folder / SEGMENT, knowledge)
    np.save(folder / SEGMENT / TRUST, trust)
    (folder / SUMMARY).write_text(summary, encoding="utf-8")


def write_knowledge(folder: Path, knowledge: Knowledge) -> None:
    """One array a file."""
    for name, array in _arrays(knowledge).items():
        np.save(folder / f"{name}.npy", array)


def _arrays(known: Knowledge) -> dict[str, NDArray[Any]]:
    neighbours = known.neighbours
    return {
        "text": known.corpus.text, "array": known.corpus.array,
        "templates": known.templates.text, "templates-array": known.templates.array,
        "places": known.places, "frozen": known.frozen, "pointer": known.pointer,
        "features": neighbours.keys, "starts": neighbours.starts,
        "traces": neighbours.traces, "norms": neighbours.norms,
    }  # fmt: skip


def read_knowledge(folder: Path, vocab_size: int) -> Knowledge:
    """What `write_knowledge` wrote, mapped.

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
            read("features", np.uint32), read("starts"), read("traces"), read("norms", np.float32)
        ),
    )
    for corpus in (known.corpus, known.templates):
        if len(corpus.text) != len(corpus.array):
            raise BundleError(f"{folder}: text and suffix array do not fit", _REBUILD)
    if len(known.frozen) != vocab_size or len(known.pointer) != copying.POINTS:
        raise BundleError(f"{folder}: was learned for another vocabulary or version", _REBUILD)
    return known


def _read_trust(path: Path) -> Trust:
    trust = np.array(map_array(path, np.float32), order="C")  # as the kernels are compiled for
    if trust.shape != (2, evidence.CELLS) or not np.isfinite(trust).all():
        raise BundleError(f"{path}: holds no trust of this version", _REBUILD)
    return trust
