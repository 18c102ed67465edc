"""A tokenizer's vocabulary, and how entries are added that are decoded but never encoded.

An entry without a merge is out of reach for an encoder that builds up from characters (BPE). One
that looks pieces up (BPE that ignores merges, Unigram) never meets an entry that holds a border at
which every text is cut before. So prompts keep their ids, and the tokenizer stays one that every
library reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from tokenizers import Tokenizer

from tascel.adapt.families import family
from tascel.errors import ModelError
from tascel.new_tokens import NewTokens
from tascel.pretrained import NEW_TOKENS
from tascel.token_bytes import TokenBytes

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
#: What may stand before and behind a text and change where pre-tokenizers cut.
_AROUND = ("", "a", "1", " ", ".", "\n", "'")
_OTHER = "Fine-tune it without new tokens"


class Vocabulary:
    """The vocabulary of a fast tokenizer that transformers has loaded.

    Attributes:
        family: "byte-level BPE", "SentencePiece BPE" or "Unigram"; "…, whole pieces first" for BPE
            that looks a piece up before it merges (`ignore_merges`, as Llama 3).

    Raises:
        ModelError: no fast tokenizer, one of another family, or one that has new tokens already.
    """

    def __init__(self, tokenizer: Any) -> None:
        kind = cast(Any, type(tokenizer))
        name = tokenizer.name_or_path or kind.__name__
        if not tokenizer.is_fast:
            raise ModelError(
                f"{name} has no fast tokenizer", "Convert it to a tokenizer.json first"
            )
        if tokenizer.init_kwargs.get(NEW_TOKENS):
            raise ModelError(
                f"{name} has new tokens already", "Mine for the base model, or add none to this one"
            )
        self._name, self._kind = name, kind
        self._tokenizer = tokenizer
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        spec = json.loads(self._backend.to_str())
        self.family = _family(spec, name)
        self._unigram = self.family == "Unigram"
        # Without a file of merges llama.cpp joins whatever two pieces make an entry.
        self._pairs = self.family.startswith("SentencePiece")
        self._whole = self._unigram or bool(spec["model"].get("ignore_merges"))
        self._ids: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        self._pieces = {id_: piece for piece, id_ in self._ids.items()}
        self._kept = set(self._backend.get_added_tokens_decoder())
        model = spec["model"]
        unknown = model["unk_id"] if self._unigram else self._ids.get(model.get("unk_token"))
        self._kept |= set() if unknown is None else {unknown}
        self._spelled = self.family.startswith("byte-level")
        self._bytes = TokenBytes(self._backend)

    def refuse(self, run: Sequence[int]) -> str | None:
        """Why a run of base ids cannot become an entry, in a few words; None if it can."""
        if any(id_ not in self._pieces for id_ in run):
            return "an id that the vocabulary lacks"
        if not self._kept.isdisjoint(run):
            return "a special token inside"
        if not self._spelled and any(_BYTE.fullmatch(self._pieces[id_]) for id_ in run):
            return "part of a character"
        entry = self._entry(run)
        if entry in self._ids or "".join(self._pieces[id_] for id_ in run) in self._ids:
            return "in the vocabulary already"
        if self._pairs and " " not in entry:
            return "llama.cpp's encoder would write it"
        if self._whole and self._met(entry, self._text(run)):
            return "the encoder would write it"
        return None

    def extend(self, runs: Sequence[Sequence[int]]) -> tuple[Any, NewTokens]:
        """A copy of the tokenizer with an entry for each run, at the ids after all that are used.

        Special tokens become part of the model's vocabulary, so no id moves when the file is read
        again. Of runs that write the same text the first is taken.

        Raises:
            ModelError: a run is refused, or the tokenizer's class does not keep the entries.
        """
        entries = dict[str, tuple[int, ...]]()
        for run in runs:
            if why := self.refuse(run):
                raise ModelError(f"no new token can stand for {self._text(run)!r}: {why}", _OTHER)
            entries.setdefault(self._entry(run), tuple(run))
        first = 1 + max(self._pieces)
        new = NewTokens({first + at: run for at, run in enumerate(entries.values())})
        ids = {entry: first + at for at, entry in enumerate(entries)}
        with TemporaryDirectory() as folder:
            self._tokenizer.save_pretrained(folder)
            _edit(Path(folder, "tokenizer.json"), lambda spec: self._add(spec, ids))
            _edit(Path(folder, "tokenizer_config.json"), lambda config: _note(config, new))
            # It knows nothing of the entries, and some converters would rather read it.
            Path(folder, "tokenizer.model").unlink(missing_ok=True)
            extended = self._kind.from_pretrained(folder)
        extended.name_or_path = self._tokenizer.name_or_path
        read: Tokenizer = extended.backend_tokenizer
        same = read.get_vocab(with_added_tokens=True) == self._ids | ids
        if not same or any(
            read.decode([id_]) != self._backend.decode([*run]) for id_, run in new.runs.items()
        ):
            raise ModelError(
                f"the tokenizer class of {self._name} does not keep what tokenizer.json says",
                _OTHER,
            )
        return extended, new

    def _entry(self, run: Sequence[int]) -> str:
        """How the vocabulary spells a run.

        SentencePiece's encoders know spaces only as ▁. Decoders take both, and drop ▁ from an
        answer's first token: so behind the first piece spaces are spaces.
        """
        first, *rest = (self._pieces[id_] for id_ in run)
        behind = "".join(rest)
        return first + (behind if self._spelled else behind.replace("▁", " "))

    def _text(self, run: Sequence[int]) -> str:
        return b"".join(map(self._bytes, run)).decode(errors="replace")

    def _met(self, entry: str, text: str) -> bool:
        """Whether the encoder may look the entry up: as a whole piece, for Unigram in one."""
        pieces = {
            piece
            for before in _AROUND
            for after in _AROUND
            for piece in self._cut(before + text + after)
        }
        return any(entry in piece for piece in pieces) if self._unigram else entry in pieces

    def _cut(self, text: str) -> list[str]:
        """The pieces that the encoder reads a text in."""
        normalizer: Any = self._backend.normalizer
        cutter: Any = self._backend.pre_tokenizer
        texts = {text, normalizer.normalize_str(text) if normalizer else text}
        if cutter is None:
            return [*texts]
        return [piece for each in texts for piece, _ in cutter.pre_tokenize_str(each)]

    def _add(self, spec: dict[str, Any], ids: Mapping[str, int]) -> None:
        """Write entries into a tokenizer.json, behind the special tokens that it does not have."""
        vocabulary: Any = spec["model"]["vocab"]
        if not self._unigram:
            for added in spec["added_tokens"]:
                self._pin(vocabulary, added["content"], added["id"])
            vocabulary.update(ids)
            return
        if len(vocabulary) <= max(self._kept):
            raise ModelError(
                f"special tokens of {self._name} lie outside its Unigram vocabulary, where new "
                "tokens would move them",
                _OTHER,
            )
        # The score of unknown characters hangs on the lowest one, so that must not change.
        lowest = min(score for _, score in vocabulary)
        vocabulary.extend([entry, lowest] for entry in ids)

    def _pin(self, vocabulary: dict[str, int], content: str, id_: int) -> None:
        """Give an added token its id in the model's vocabulary, too."""
        found = len(content) == 1 or (self._whole and self._met(content, content))
        if content not in vocabulary and found:
            raise ModelError(
                f"the added token {content!r} of {self._name} would be found inside other text if "
                "it was in the vocabulary, and without that new tokens would move it",
                _OTHER,
            )
        vocabulary.setdefault(content, id_)


def _family(spec: Mapping[str, Any], name: str) -> str:
    if (known := family(spec)) is not None:
        return known
    raise ModelError(
        f"new tokens cannot be added to the {spec['model']['type']} tokenizer of {name}: only "
        "byte-level BPE, SentencePiece BPE and Unigram are known",
        _OTHER,
    )


def _note(config: dict[str, Any], new: NewTokens) -> None:
    config[NEW_TOKENS] = new.to_json()


def _edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
