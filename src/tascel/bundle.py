"""A bundle: everything learned of a task, as one folder that goes with one tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tascel.codec import Codec
from tascel.draft.corpus import Corpus
from tascel.draft.kernels import mixing
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.trust import Trust
from tascel.errors import BundleError
from tascel.store.folder import map_array, open_folder
from tascel.store.manifest import Manifest

TOKENIZER = "tokenizer"
SEGMENT = "segment-000"
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
    corpus: Corpus
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
        text = map_array(folder / "text.npy", np.int32)
        array = map_array(folder / "array.npy", np.int32)
        # the kernels note positions as i32
        if text.ndim != 1 or text.shape != array.shape or len(text) >= 2**31:
            raise BundleError(f"{folder}: text and suffix array do not fit", _REBUILD)
        return Bundle(path, manifest, Corpus(text, array), _read_trust(path / TRUST), codec)

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

    def draft(self, config: DraftConfig | None = None) -> NgramDraft:
        """The draft for requests of this task, kernels compiled."""
        manifest = self.manifest
        draft = NgramDraft(self.corpus, self.trust, manifest.eos_ids, manifest.vocab_size, config)
        draft.warm()
        return draft


def fill(folder: Path, codec: Codec, corpus: Corpus, trust: Trust, summary: str) -> None:
    """Write a bundle's files, all but the manifest, into an empty folder."""
    codec.save(folder / TOKENIZER)
    (folder / SEGMENT).mkdir()
    np.save(folder / SEGMENT / "text.npy", corpus.text)
    np.save(folder / SEGMENT / "array.npy", corpus.array)
    np.save(folder / TRUST, trust)
    (folder / SUMMARY).write_text(summary, encoding="utf-8")


def _read_trust(path: Path) -> Trust:
    trust = np.array(map_array(path, np.float32), order="C")  # as the kernels are compiled for
    if trust.shape != (2, mixing.CELLS) or not np.isfinite(trust).all():
        raise BundleError(f"{path}: holds no trust of this version", _REBUILD)
    return trust
