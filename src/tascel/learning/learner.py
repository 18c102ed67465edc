"""Takes finished answers in, and does in the background what makes drafts and files of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread, current_thread
from time import sleep
from typing import TypeVar

import numpy as np

from tascel.bundle import Bundle
from tascel.draft.base import Draft
from tascel.draft.ngram import DraftConfig
from tascel.errors import BundleError
from tascel.learning.config import LearnConfig, LearnStats
from tascel.learning.exchange import Exchange
from tascel.learning.journal import Journal
from tascel.learning.recent import Recent
from tascel.types import Request

T = TypeVar("T")
_log = logging.getLogger(__name__)
#: Seconds between two looks at what others wrote, at least; also between two writes while all is
#: indexed; and seconds to wait for answers to write.
_LOOK, _SOON = 1.0, 0.05


class Learner:
    """What is learned of one bundle in one process: in memory and on disk.

    Nothing that fails here stops an answer: it is counted, logged once and tried again.

    Args:
        bundle: the bundle as it was opened.
        make: its draft; called again with the bundle as it is then, when another process has built
            that anew.
        config: how to draft from what was learned.
        learn: what to learn.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        bundle: Bundle,
        make: Callable[[Bundle], Draft],
        config: DraftConfig,
        learn: LearnConfig,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bundle, self._make = bundle, make
        self.base = make(bundle)
        looks = config.rule == "calibrated"
        self.recent = Recent(
            bundle.learned, bundle.reader if looks else None, bundle.manifest.eos_ids, config,
            learn, clock, self._breathe,
        )  # fmt: skip
        self.journal = Journal(bundle.path, bundle.manifest, learn, clock)
        self._config, self._clock = learn, clock
        self._started = self._closed = False
        self._next_look = self._next_flush = 0.0
        self._working = Lock()
        self._wake, self._stop = Event(), Event()
        self._thread: Thread | None = None
        self._counts = _Counts()

    def start(self) -> None:
        """Learn from now on, beginning with what the bundle's folder holds already."""
        if self._started:
            return
        self._started = True
        self.work()
        if self._config.background:
            self._thread = Thread(target=self._run, name="tascel-learner", daemon=True)
            self._thread.start()

    def learn(self, request: Request, written: list[int]) -> None:
        """Take in a whole answer: ids, with the one that closed it."""
        if self._started and not self._closed and written:
            self.guarded(lambda: self._learn(request, written))

    def _learn(self, request: Request, written: list[int]) -> None:
        output = np.array(written, np.int32)
        exchange = Exchange.of(request.prompt, output, self._clock(), request.task)
        self._counts.learned += 1
        if not self.recent.add(exchange):
            self._counts.repeated += 1
        elif self._config.written:
            self.journal.add(exchange)
        if self._thread is None:
            self.work()
        else:
            self._wake.set()

    def work(self) -> None:
        """One round of what the background does: index, write down, look at what others did."""
        with self._working:
            began, now, errors = time.thread_time(), self._clock(), self._counts.errors
            self._flush()
            if look := self._is_time(self._next_look, now):
                self._next_look = now + self._pause
                self.guarded(self._look)
                if self._config.written:
                    self.guarded(lambda: self.journal.merge(self.recent.uses))
            self.guarded(self._index)
            if look and self._counts.errors == errors and self._next_flush <= now:
                self._counts.well()
            self._counts.seconds += time.thread_time() - began

    def _flush(self, after: float = 0.0) -> None:
        """Write down what has waited for long enough, so many seconds `after` the last time."""
        now, waits, errors = self._clock(), self.journal.waits, self._counts.errors
        old = waits is not None and not 0 <= now - waits < self._config.flush
        if old and self._is_time(self._next_flush + after, now):
            self.guarded(self.journal.flush)
            self._next_flush = self._clock()  # soon again, but for a disk that takes nothing
            if self._counts.errors > errors:
                self._next_flush += self._pause

    def _breathe(self) -> None:
        """In the middle of indexing, which may take a minute: other threads get their turn, what
        waits is written down all the same, and the end has not to wait."""
        sleep(0)
        if self._stop.is_set() and current_thread() is self._thread:
            raise _Ended
        self._flush(after=_LOOK)

    def _is_time(self, due: float, now: float) -> bool:
        """Whether something is due; a clock that was set back makes it so."""
        return now >= due or due > now + 2 * self._pause

    def _index(self) -> None:
        with suppress(_Ended):
            if self.recent.due:
                self.recent.index()
            else:
                self.recent.index_fresh()

    def _look(self) -> None:
        """Take over what other processes learned, forget what is no longer there, and draft with
        the bundle that another has built."""
        try:
            news = self.journal.look()
        except OSError as reason:
            raise BundleError(
                f"{self._bundle.path}: is not there ({reason.strerror})",
                "Answers are drafted as before; put the bundle back to keep what is learned",
            ) from None
        if news is None:
            return
        for reason in news.damaged:
            self._counts.failed(reason)
        self.recent.adopt(news.added)
        self.recent.drop(news.gone)
        if news.rebuilt:
            self.journal.again()  # unless the following works
            opened = Bundle.open(self._bundle.path, self._bundle.given)
            base = self._make(opened)
            self.recent.rebase(opened.learned)
            self._bundle, self.base = opened, base
            self.journal.opened(opened.manifest)

    def guarded(self, work: Callable[[], T]) -> T | None:
        """What `work` returns; None where it fails, which is counted, and logged if it is not what
        failed last."""
        try:
            found = work()
        except Exception as reason:  # whatever it is, no answer may fail of it
            self._counts.failed(reason)
            return None
        return found

    def forget(self) -> None:
        """Drop what no file holds yet, and what answers taught trust."""
        with self._working:
            self.recent.forget()
            gone = {one.key for one in self.journal.forget()}
            if not self._config.written:
                gone = self.recent.keys() - self.journal.keys()
            self.recent.drop(gone)
            self.guarded(self._index)

    def close(self) -> None:
        """Write down what was learned, and stop."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()
        if self._started:
            self.guarded(self.journal.flush)

    def stats(self, offered: int = 0, accepted: int = 0) -> LearnStats:
        """How it goes; from any thread."""
        counts = self._counts
        return LearnStats(
            traces=len(self.recent), tokens=self.recent.tokens, learned=counts.learned,
            repeated=counts.repeated, unflushed=self.journal.unflushed, lost=self.journal.lost,
            errors=counts.errors, last_error=counts.last, offered=offered, accepted=accepted,
            learns=self.recent.learns, seconds=counts.seconds,
        )  # fmt: skip

    @property
    def _pause(self) -> float:
        return max(self._config.flush, _LOOK)

    def _run(self) -> None:
        while not self._stop.is_set():
            soon = max(self._config.flush, _SOON)
            self._wake.wait(self._pause if self.journal.waits is None else soon)
            self._wake.clear()
            if not self._stop.is_set():
                self.guarded(self.work)


class _Ended(Exception):
    """Nothing more shall be indexed."""


@dataclass(slots=True)
class _Counts:
    """What `LearnStats` says of the learner."""

    learned: int = 0
    repeated: int = 0
    errors: int = 0
    last: str | None = None
    seconds: float = 0.0
    _said: set[str] = field(default_factory=set[str])

    def failed(self, reason: Exception) -> None:
        """Count it, and say it once."""
        self.errors += 1
        said = str(reason) if isinstance(reason, BundleError) else repr(reason)
        if said not in self._said:
            unknown = not isinstance(reason, BundleError)
            _log.warning("learning: %s", said, exc_info=reason if unknown else None)
            self._said.add(said)
        self.last = said

    def well(self) -> None:
        """What failed works again: if it fails once more, it is said once more."""
        self.last = None
        self._said.clear()
