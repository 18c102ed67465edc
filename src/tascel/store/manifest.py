"""A folder's table of contents, `manifest.json`, as a typed value. Unknown keys are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path, PurePosixPath
from typing import Any, cast

from tascel.errors import BundleError

NAME = "manifest.json"
PARTIAL = f"{NAME}.partial"  # one that is being written
LEARNED = "learned"  # the folder of what was learned since the bundle was built
FORMAT = "tascel-bundle"
VERSION = 4
#: What former versions did not say: their folders can be listed and replaced, never opened.
_SINCE: Mapping[str, Any] = {"vocab_size": 1, "eos_ids": [0], "tasks": [], "settings": {}}
_MOST_IDS = 2**31  # an id is an i32
_MOST_THINNED = 63  # a key has 64 bits


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size in bytes and SHA-256 (hex) of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A task: its `name`, how many `traces` it was learned from, and how many tokens a pass brought
    on held-out answers, drafted by its `own` draft and by the `pooled` one; 0 if none of its
    answers was held out."""

    name: str
    traces: int
    own: float
    pooled: float


@dataclass(frozen=True, slots=True)
class Settings:
    """How a bundle was learned, for whoever learns it anew: see `BuildConfig`. `thinned` is n where
    one of 2**n traces was kept."""

    text: bool = True
    tasks: str = "auto"
    corpus_tokens: int = 64_000_000
    trust_traces: int = 4_000
    seed: int = 0
    thinned: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle is, where it comes from, and its files.

    `model` and `tokenizer` identify what it was built for: the model's id, the fingerprint of its
    weights (None if unknown) and of its tokenizer. `vocab_size` and `eos_ids`, the ids that end an
    answer, are the tokenizer's; `settings` say how it was learned. `segments` name the folders of
    what was learned: of all traces, then of each of the `tasks`; `files` maps relative paths to
    what must be found there. Those in the folder `learned` came after the bundle was built and go
    when they are merged.
    """

    model: str
    weights: str | None
    tokenizer: str
    vocab_size: int
    eos_ids: tuple[int, ...]
    counts: Mapping[str, int]
    command: tuple[str, ...]
    segments: tuple[str, ...]
    tasks: tuple[TaskEntry, ...] = ()
    settings: Settings = field(default_factory=Settings)
    files: Mapping[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    tascel_version: str = field(default_factory=lambda: package_version("tascel"))
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    version: int = VERSION

    @property
    def base(self) -> dict[str, FileEntry]:
        """The files of the build itself. Where they are equal, it is the same one, whatever was
        learned since."""
        return {name: entry for name, entry in self.files.items() if not is_learned(name)}

    @property
    def learned(self) -> dict[str, FileEntry]:
        """The files that were added since. A name stands for one content forever."""
        return {name: entry for name, entry in self.files.items() if is_learned(name)}

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        fields = {"format": FORMAT, **asdict(self)}
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read `folder/manifest.json`.

        Raises:
            BundleError: not there, damaged, of a newer version, or with keys or values it must not
                have.
        """
        path = folder / NAME
        if not folder.exists():
            former = folder.with_name(f".{folder.name}.former")  # see replace.py, `_put`
            remedy = f"Rename {former} to it" if former.exists() else "Make one with `tascel build`"
            raise BundleError(f"{folder}: no such bundle", remedy)
        if not path.is_file():
            raise BundleError(f"{folder}: has no {NAME}, so it is no bundle", "Check the path")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            json.dumps(found, ensure_ascii=False).encode()  # fails on half a surrogate pair
        except OSError as reason:
            raise _damaged(path, f"cannot be read ({reason.strerror})") from None
        except (ValueError, RecursionError):
            raise _damaged(path, "is not JSON") from None
        if not isinstance(found, dict):
            raise _damaged(path, "is not a JSON object")
        fields = cast(dict[str, Any], found)
        if fields.pop("format", None) != FORMAT:
            raise BundleError(f"{path}: is no {FORMAT} manifest", "Check the path")
        version = fields.pop("version", None)
        if type(version) is not int or version < 1:
            raise _damaged(path, f"has the impossible version {version!r}")
        if version > VERSION:
            raise BundleError(
                f"{path}: is version {version}, this tascel reads {VERSION}",
                "Update with `pip install -U tascel`, or build the bundle again with this tascel",
            )
        try:
            return _typed({**(_SINCE if version < VERSION else {}), **fields, "version": version})
        except ValueError as reason:
            raise _damaged(path, str(reason)) from None


def is_learned(name: str) -> bool:
    """Whether this file of a bundle came after it was built."""
    return name.startswith(f"{LEARNED}/")


def is_leftover(name: str) -> bool:
    """Whether a file of this name is ours though no manifest lists it: a killed process left it."""
    return name == PARTIAL or re.fullmatch(LEARNED + r"/[0-9a-f]{32}\.npz", name) is not None


def public_command(args: Sequence[str]) -> tuple[str, ...]:
    """A command line without local paths: each path is reduced to its last part.

    `name/name` stays, as the id of a model, unless its first part exists here.
    """
    return tuple(_public(arg) for arg in args)


def _public(arg: str) -> str:
    option, equals, value = arg.rpartition("=") if arg.startswith("-") else ("", "", arg)
    model_id = re.fullmatch(r"[\w.-]+/[\w.-]+", value)
    if model_id and not Path(value).parent.exists():
        return arg
    return option + equals + re.split(r"[/\\]", value.rstrip("/\\"))[-1]


def _damaged(path: Path, what: str) -> BundleError:
    return BundleError(f"{path}: {what}", "The bundle is damaged: copy it again or rebuild it")


def _typed(fields: dict[str, Any]) -> Manifest:
    wanted = set(Manifest.__dataclass_fields__)
    if unknown := sorted(set(fields) - wanted):
        raise ValueError(f"has the unknown key {unknown[0]!r}")
    if missing := sorted(wanted - set(fields)):
        raise ValueError(f"lacks the key {missing[0]!r}")
    vocab_size = _vocab_size(fields["vocab_size"])
    return Manifest(
        model=_value(fields, "model", str),
        weights=None if fields["weights"] is None else _value(fields, "weights", str),
        tokenizer=_value(fields, "tokenizer", str),
        vocab_size=vocab_size,
        eos_ids=_eos_ids(fields["eos_ids"], vocab_size),
        counts={key: _count(value) for key, value in _value(fields, "counts", dict).items()},
        command=_texts(fields, "command"),
        segments=_texts(fields, "segments"),
        tasks=tuple(map(_task, cast(list[Any], _value(fields, "tasks", list)))),
        settings=_settings(fields["settings"]),
        files={_name(k): _entry(k, v) for k, v in _value(fields, "files", dict).items()},
        tascel_version=_value(fields, "tascel_version", str),
        created=_value(fields, "created", str),
        version=_value(fields, "version", int),
    )


def _value(fields: dict[str, Any], key: str, kind: type) -> Any:
    if type(fields[key]) is not kind:
        raise ValueError(f"has a {key!r} that is not a {kind.__name__}")
    return fields[key]


def _texts(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    values = cast(list[Any], _value(fields, key, list))
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"has a {key!r} that is not a list of texts")
    return tuple(values)


def _vocab_size(value: Any) -> int:
    if type(value) is not int or not 0 < value <= _MOST_IDS:
        raise ValueError(f"has the impossible 'vocab_size' {value!r}")
    return value


def _eos_ids(value: Any, vocab_size: int) -> tuple[int, ...]:
    ids = cast(list[Any], value) if isinstance(value, list) else []
    if not ids or not all(type(id_) is int and 0 <= id_ < vocab_size for id_ in ids):
        raise ValueError("has 'eos_ids' that are not a list of ids of the vocabulary")
    return tuple(ids)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"counts {value!r} of something")
    return value


def _name(name: str) -> str:
    """A file's name must stay inside the folder, whoever wrote the manifest."""
    path = PurePosixPath(name)
    plain = str(path) == name and not path.is_absolute() and ".." not in path.parts
    if not plain or name in (".", NAME) or re.search(r"[\\:\x00]", name):
        raise ValueError(f"lists the forbidden file name {name!r}")
    return name


def _task(value: Any) -> TaskEntry:
    fields = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    if set(fields) != set(TaskEntry.__dataclass_fields__):
        raise ValueError("has 'tasks' that are not tasks")
    rates = [fields["own"], fields["pooled"]]
    if not all(type(rate) in (int, float) and rate >= 0 for rate in rates):
        raise ValueError(f"has a task with the impossible rates {rates}")
    return TaskEntry(_value(fields, "name", str), _count(fields["traces"]), *map(float, rates))


def _settings(value: Any) -> Settings:
    found = cast(dict[str, Any], value) if isinstance(value, dict) else {"settings": value}
    usual = asdict(Settings())
    if set(found) - set(usual):
        raise ValueError("has 'settings' that are not settings")
    fields = {**usual, **found}
    for name, default in usual.items():
        if isinstance(default, int) and not isinstance(default, bool):
            _count(fields[name])
        else:
            _value(fields, name, bool if isinstance(default, bool) else str)
    if fields["tasks"] not in ("auto", "find", "one") or fields["thinned"] > _MOST_THINNED:
        raise ValueError("has impossible settings")
    return Settings(**fields)


def _entry(name: str, value: Any) -> FileEntry:
    if not isinstance(value, dict) or set(cast(dict[str, Any], value)) != {"bytes", "sha256"}:
        raise ValueError(f"lists {name!r} without its size and checksum")
    fields = cast(dict[str, Any], value)
    return FileEntry(bytes=_count(fields["bytes"]), sha256=_value(fields, "sha256", str))
