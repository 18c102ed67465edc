"""A bundle: everything learned of a task, as one folder that goes with one tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from tascel.codec import Codec
from tascel.draft.base import Draft
from tascel.draft.corpus import Corpus
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.reader import Reader
from tascel.errors import BundleError
from tascel.learned import Learned, read_learned, read_router
from tascel.neural import FACTS as NEURAL
from tascel.neural import Neural, TaskChoices, read_neural
from tascel.records import Records
from tascel.route.classify import Classifier
from tascel.route.draft import Lane, RoutedDraft
from tascel.route.extend import ExtendedDraft, Stemmed
from tascel.route.policy import Policy, Tally
from tascel.selection import IDS, Selection, read_selection
from tascel.store.folder import read_folder
from tascel.store.manifest import Manifest

TOKENIZER = "tokenizer"
ALL = "all"
ROUTER = "router"
RECORDS = "records"
_REBUILD = "The bundle is damaged: copy it again or rebuild it"

#: Hears how far a long job is: its stage, what is done and, where known, of how much.
Progress = Callable[[str, int, int | None], None]


def silent(stage: str, done: int, total: int | None) -> None:
    """Hears nothing."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle. Its arrays are mapped, not read: opening takes no time at any size.

    `learned` is what all traces teach; `tasks` are the tasks that were found or named in them, none
    if they are one, and `classifier` tells prompts of these apart. `given` is the codec it was
    opened for, None if it shall use its own. `selection` are the ids that answers need, None if
    nobody has told them (`tascel tailor`); `neural` what there is of neural drafts, None if nobody
    distilled any (`tascel distill`).
    """

    path: Path
    manifest: Manifest
    learned: Learned
    tasks: Sequence[Task] = ()
    classifier: Classifier | None = None
    given: Codec | None = None
    selection: Selection | None = None
    neural: Neural | None = None

    @staticmethod
    def open(path: str | Path, codec: Codec | None = None) -> Bundle:
        """Open the bundle at `path`, for the model whose `codec` is given (default: its own copy,
        loaded when it is needed: drafting needs none).

        Raises:
            BundleError: missing, damaged, newer, or built with another tokenizer.
        """
        path = Path(path)
        return read_folder(path, lambda manifest: Bundle._read(path, manifest, codec))

    @staticmethod
    def with_records(
        path: str | Path, codec: Codec | None = None, progress: Progress = silent
    ) -> tuple[Bundle, Records]:
        """Open the bundle at `path` and read its records, both as they were at one moment.

        Raises:
            BundleError: as `open`, or damaged records.
        """
        path = Path(path)

        def read(manifest: Manifest) -> tuple[Bundle, Records]:
            bundle = Bundle._read(path, manifest, codec)
            return bundle, bundle.records(progress)

        return read_folder(path, read)

    @staticmethod
    def _read(path: Path, manifest: Manifest, codec: Codec | None) -> Bundle:
        if codec is not None and codec.fingerprint != manifest.tokenizer:
            raise BundleError(
                f"{path}: was built with the tokenizer of {manifest.model}, which writes other ids "
                "than this model's",
                "Use that model, or build a bundle for this one with `tascel build`",
            )
        folders = (ALL, *(f"task-{at:03}" for at in range(len(manifest.tasks))))
        if manifest.segments != folders:
            raise BundleError(f"{path}: has segments {manifest.segments}", _REBUILD)
        learned, *own = (read_learned(path / folder, manifest.vocab_size) for folder in folders)
        selected = read_selection(path, manifest.vocab_size) if IDS in manifest.files else None
        names = [entry.name for entry in manifest.tasks]
        neural = read_neural(path, names) if NEURAL in manifest.files else None
        if not own:
            return Bundle(path, manifest, learned, given=codec, selection=selected, neural=neural)
        classifier, tallies = read_router(path / ROUTER, len(own))
        tasks = [
            Task(entry.name, learned_there, pair)
            for entry, learned_there, pair in zip(manifest.tasks, own, tallies, strict=True)
        ]
        return Bundle(path, manifest, learned, tasks, classifier, codec, selected, neural)

    @property
    def corpus(self) -> Corpus:
        """All outputs that its index was built from."""
        return self.learned.knowledge.corpus

    @property
    def record_files(self) -> list[str]:
        """The files of what its index was built from."""
        return sorted(name for name in self.manifest.files if name.startswith(f"{RECORDS}/"))

    @property
    def learned_files(self) -> list[str]:
        """The files of what was learned since, which its index does not know."""
        return sorted(self.manifest.learned)

    def records(self, progress: Progress = silent) -> Records:
        """All exchanges that it was learned from and that it learned since, in this order.

        Raises:
            BundleError: damaged, or a file has gone meanwhile; `with_records` reads again then.
        """
        names = [*self.record_files, *self.learned_files]
        parts: list[Records] = []
        for name in names:
            progress("reading records", len(parts), len(names))
            parts.append(self.records_in(name))
        progress("reading records", len(names), len(names))
        return Records.join(parts)

    def records_in(self, name: str) -> Records:
        """The exchanges of one of its files.

        Raises:
            BundleError: damaged or gone.
        """
        return Records.read(self.path / name, self.manifest.vocab_size)

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

    def draft(
        self,
        config: DraftConfig | None = None,
        neural: Callable[[int], Stemmed] | None = None,
    ) -> NgramDraft | RoutedDraft:
        """The draft for requests of this bundle's tasks, kernels compiled.

        Args:
            config: how to draft.
            neural: makes the stored neural draft with this number; without it there are n-grams
                only.
        """
        config = config or DraftConfig()
        looks = config.rule == "calibrated"  # the other rules know nothing of prompts

        def draft(learned: Learned) -> NgramDraft:
            reader = self.reader if looks else None
            eos_ids = self.manifest.eos_ids
            return NgramDraft(learned.knowledge, learned.trust, reader, eos_ids, config)

        def lane(name: str | None, ngrams: Sequence[NgramDraft], tallies: Sequence[Tally]) -> Lane:
            found = self.neural.of(name) if self.neural is not None else None
            if neural is None or found is None:
                return Lane(name, ngrams, Policy(tallies, config.saved))
            return _widened(name, ngrams, found, neural, config.saved)

        made = pooled = draft(self.learned)
        if looks and config.routed and self.classifier is not None:
            lanes = [
                lane(task.name, (draft(task.learned), pooled), task.tallies) for task in self.tasks
            ]
            made = RoutedDraft(pooled, lanes, self.classifier)
        elif looks and neural is not None and self.neural is not None and self.neural.of(None):
            made = RoutedDraft(pooled, [lane(None, (pooled,), ())], None)
        made.warm()
        return made


def _widened(
    name: str | None,
    ngrams: Sequence[NgramDraft],
    found: TaskChoices,
    neural: Callable[[int], Stemmed],
    saved: float,
) -> Lane:
    """A task's lane with neural drafts beside its n-grams, which are extended as they are better
    alone."""
    first = ngrams[Policy(found.ngrams).choose(None)]
    made = {choice.draft: neural(choice.draft) for choice in found.choices}
    drafts: list[Draft] = [
        ExtendedDraft(first, made[choice.draft]) if choice.extended else made[choice.draft]
        for choice in found.choices
    ]
    tallies = [*found.ngrams, *(choice.tally for choice in found.choices)]
    return Lane(name, (*ngrams, *drafts), Policy(tallies, saved))


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One of several tasks; `tallies` say what its own draft and the pooled one made of held-out
    answers."""

    name: str
    learned: Learned
    tallies: tuple[Tally, Tally]
