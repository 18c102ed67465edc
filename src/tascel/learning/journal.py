"""What was learned online, on its way into the bundle's folder and out of it.

Every process writes files of its own and reads those of the others; from time to time somebody
merges many into one. Nothing here is fast, and all of it may fail: what is not written yet is kept
and tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tascel.errors import BundleError
from tascel.learning.config import PROMPTS, LearnConfig
from tascel.learning.exchange import Exchange, exchanges, kept, overdue, recorded, united
from tascel.records import Records
from tascel.store.amend import Change, amend, new_name
from tascel.store.folder import current_manifest, read_folder
from tascel.store.manifest import NAME, Manifest

#: More files than this are merged: so many of the smallest that half as many are left.
FILES = 16
#: All are merged, and the least useful dropped, where they hold so many times what they may.
_SLACK = 1.25


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a file that was read or written: its answers' keys u64[n], how many tokens
    answers and prompts have, the time of the oldest; and why it cannot be read, if it cannot."""

    keys: NDArray[np.uint64]
    tokens: int
    prompts: int
    oldest: float
    damage: BundleError | None = None

    @staticmethod
    def of(records: Records) -> _Facts:
        return _Facts(
            records.keys(), len(records.outputs.flat), len(records.prompts.flat),
            float(records.times.min(initial=np.inf)),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class News:
    """What has changed in a bundle: answers that files hold which were not known, and the keys of
    those that no file holds any more. `rebuilt` if the bundle is another build. `damaged`: why new
    files cannot be read; they are left alone."""

    added: Sequence[Exchange]
    gone: frozenset[int]
    rebuilt: bool
    damaged: Sequence[BundleError]


class Journal:
    """The files under `learned` of the bundle at `path`, which had the given `manifest` when its
    draft was made. `add` may be called from any thread, the others from one."""

    def __init__(
        self, path: Path, manifest: Manifest, config: LearnConfig, clock: Callable[[], float]
    ) -> None:
        self._path, self._opened = path, manifest
        self._config, self._clock = config, clock
        self._lock = Lock()
        self._waiting: deque[Exchange] = deque()
        self._waiting_tokens = 0
        self._batch: tuple[str, list[Exchange]] | None = None
        self._files: dict[str, _Facts] = {}
        self._seen: object = None
        self.lost = 0

    def add(self, exchange: Exchange) -> None:
        """Write this down with the next `flush`. If the disk takes nothing for so long that more
        waits than is ever kept, the oldest are given up."""
        with self._lock:
            self._waiting.append(exchange)
            self._waiting_tokens += _size(exchange)
            while self._waiting_tokens > (1 + PROMPTS) * self._config.tokens:
                self._waiting_tokens -= _size(self._waiting.popleft())
                self.lost += 1

    @property
    def unflushed(self) -> int:
        """Answers that no file holds yet."""
        with self._lock:
            return len(self._waiting) + (len(self._batch[1]) if self._batch else 0)

    @property
    def waits(self) -> float | None:
        """Since when the oldest of them waits, in seconds since 1970."""
        with self._lock:
            if self._batch is not None:
                return self._batch[1][0].time
            return self._waiting[0].time if self._waiting else None

    def keys(self) -> set[int]:
        """Of the answers that files hold, as far as they were read."""
        return set(_keys(self._files).tolist())

    def forget(self) -> list[Exchange]:
        """Give up what is not written yet; returns it."""
        with self._lock:
            gone = [*self._waiting]
            self._waiting.clear()
            self._waiting_tokens = 0
        return gone

    def flush(self) -> None:
        """Write down what waits now; what comes meanwhile is for the next time.

        Raises:
            BundleError: it cannot be written now; nothing is lost.
        """
        # A batch keeps its name until it is in the manifest: whether a write that failed had
        # reached the disk is seen when it is tried again.
        for _ in range(1 if self._batch is None else 2):
            if self._next_batch() is None:
                return
            name, some = self._batch or ("", [])
            records = recorded(some)
            amend(
                self._path,
                lambda manifest, name=name, records=records: Change(
                    {} if name in self._ours(manifest).files else {name: records.write}
                ),
            )
            self._files[name] = _Facts.of(records)
            with self._lock:
                self._batch = None

    def look(self) -> News | None:
        """What others have changed since the last look; None if nothing.

        Raises:
            BundleError: the bundle is gone, damaged, or another tokenizer's.
        """
        file = (self._path / NAME).stat()
        seen = file.st_ino, file.st_mtime_ns, file.st_size
        if seen == self._seen:
            return None
        manifest, found, new = read_folder(self._path, self._unread)
        added = [one for records in found for one in exchanges(records)]
        files = {name: self._files.get(name) or new[name] for name in manifest.learned}
        damaged = [facts.damage for facts in new.values() if facts.damage is not None]
        before, now = _keys(self._files), _keys(files)
        gone = frozenset(np.setdiff1d(before, now).tolist())
        self._files, self._seen = files, seen
        with self._lock:
            if self._batch is not None and self._batch[0] in files:
                self._batch = None  # it was written, though the disk did not say so
        rebuilt = manifest.base != self._opened.base
        return News(united(added, self._config), gone, rebuilt, damaged)

    def _unread(self, manifest: Manifest) -> tuple[Manifest, list[Records], dict[str, _Facts]]:
        """The manifest, and what the files hold that were not read yet."""
        vocab_size = self._ours(manifest).vocab_size
        found: list[Records] = []
        new: dict[str, _Facts] = {}
        for name in manifest.learned:
            if name in self._files:
                continue
            try:
                found.append(Records.read(self._path / name, vocab_size))
            except BundleError as reason:
                if not (self._path / name).is_file():
                    raise  # it was merged meanwhile
                new[name] = replace(_Facts.of(Records.empty()), damage=reason)
            else:
                new[name] = _Facts.of(found[-1])
        return manifest, found, new

    def opened(self, manifest: Manifest) -> None:
        """The draft is that of this manifest now."""
        self._opened = manifest

    def again(self) -> None:
        """Look at everything anew the next time, as if it had changed."""
        self._seen = None

    def merge(self, uses: Callable[[int], tuple[float, float] | None]) -> bool:
        """Merge many files into one, and drop what is too much or too old; whether there was
        anything to do. `uses` says how often memory has seen an answer of this key used, and as of
        when that is counted.

        Raises:
            BundleError: it cannot be done now; nothing is lost.
        """
        names = self._due()
        if not names:
            return False
        vocab_size = self._opened.vocab_size
        try:
            read = [Records.read(self._path / name, vocab_size) for name in names]
        except BundleError:
            if set(names) <= set(self._ours(current_manifest(self._path)).learned):
                raise
            return False  # somebody else was faster
        found = exchanges(Records.join(read))
        for one in found:
            known = uses(one.key)
            if known is not None:
                one.uses = max(one.uses, self._config.worth(*known, one.time))
        some = kept(united(found, self._config), self._config, self._clock())
        records, name = recorded(some), new_name()
        add = {name: records.write} if some else {}

        def change(manifest: Manifest) -> Change:
            there = set(names) <= set(self._ours(manifest).learned)
            return Change(add, names) if there else Change()  # somebody else was faster

        manifest = amend(self._path, change)
        if not set(names) & set(manifest.learned):
            for former in names:
                self._files.pop(former, None)
            if name in manifest.learned:
                self._files[name] = _Facts.of(records)
        return True

    def _due(self) -> list[str]:
        """Which files to merge: all if they hold too much or what is too old, else the smallest of
        many."""
        files = {name: facts for name, facts in self._files.items() if facts.damage is None}
        most = _SLACK * self._config.tokens
        now = self._clock()
        tokens = sum(facts.tokens for facts in files.values())
        prompts = sum(facts.prompts for facts in files.values())
        old = any(overdue(facts.oldest, self._config, now) for facts in files.values())
        if tokens > most or prompts > PROMPTS * most or old:
            return [*files]
        if len(files) <= FILES:
            return []
        smallest = sorted(files, key=lambda name: files[name].tokens + files[name].prompts)
        return smallest[: len(files) - FILES // 2 + 1]

    def _next_batch(self) -> tuple[str, list[Exchange]] | None:
        with self._lock:
            if self._batch is None and self._waiting:
                self._batch = new_name(), [*self._waiting]
                self._waiting.clear()
                self._waiting_tokens = 0
            return self._batch

    def _ours(self, manifest: Manifest) -> Manifest:
        """The manifest, if ids mean the same there."""
        former = self._opened
        if (manifest.tokenizer, manifest.vocab_size) != (former.tokenizer, former.vocab_size):
            raise BundleError(
                f"{self._path}: was built again with another tokenizer",
                "What was learned meanwhile cannot go there; load the bundle anew",
            )
        return manifest


def _size(exchange: Exchange) -> int:
    return len(exchange.prompt) + len(exchange.output)


def _keys(files: dict[str, _Facts]) -> NDArray[np.uint64]:
    none = np.zeros(0, np.uint64)
    return np.unique(np.concatenate([none, *(facts.keys for facts in files.values())]))
