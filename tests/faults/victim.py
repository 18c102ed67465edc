"""Processes that learn into a bundle until they are killed. Run as a script: a warm parent that
forks one for each line of JSON it reads, says its process id, and then how it ended. An argument
is a bundle that it first learns into itself, so that the others find everything compiled.

A line names the work, its arguments, and maybe the file operation at which the process kills
itself: the n-th that it does inside a write, at the call itself, so that half a file may be there.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import numpy as np

from tascel.building import update
from tascel.bundle import Bundle
from tascel.draft.ngram import DraftConfig
from tascel.learning.config import LearnConfig
from tascel.learning.learner import Learner
from tascel.records import Records
from tascel.store.amend import Change, amend, new_name
from tascel.store.disk import link_or_copy
from tascel.store.manifest import Manifest
from tascel.store.replace import write_folder
from tascel.types import Request

VOCAB = 1 << 20
#: What changes a bundle, by the names of the functions.
WRITES = {"amend", "write_folder"}
OPERATIONS = {
    "open", "write", "flush", "close", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir",
    "link", "flock",
}  # fmt: skip


def kill_at(operation: int, report: str) -> None:
    """This process kills itself at the so many-th file operation inside a write, and says which."""
    left = operation

    def profile(frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event not in ("c_call", "c_return") or called.__name__ not in OPERATIONS:
            return
        if not (inside := next((name for name in _callers(frame) if name in WRITES), None)):
            return
        left -= 1
        if not left:
            Path(report).write_text(f"{inside} {called.__name__} {event}")
            os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(profile)
    sys.setprofile(profile)


def _callers(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


def record(writer: int, at: int) -> Records:
    return Records.of([np.array([1, 2, 3])], [np.array(output(writer, at))], 1e9 + at)


def output(writer: int, at: int) -> list[int]:
    """Like no other: it says who learned it, and as the how many-th."""
    return [writer // 100, writer % 100, at // 100, at % 100]


def add(path: str, records: Records) -> None:
    name = new_name()
    amend(path, lambda _: Change({name: records.write}), 60)


def merge(path: str) -> None:
    """All that was learned as one file."""

    def change(manifest: Manifest) -> Change:
        old = list(manifest.learned)
        joined = Records.join([Records.read(Path(path) / name, VOCAB) for name in old])
        return Change({new_name(): joined.write}, old) if len(old) > 1 else Change()

    amend(path, change, 60)


def replace(path: str) -> None:
    """Another bundle in its place, which takes over what was learned."""

    def fill(folder: Path) -> Manifest:
        manifest = Manifest.read(Path(path))
        for name in manifest.base:
            link_or_copy(Path(path) / name, folder / name)
        (folder / "page.md").unlink(missing_ok=True)
        (folder / "page.md").write_text("another\n" * Random().randrange(9))
        return manifest

    write_folder(path, fill, carry=lambda name: True)


def store(path: str, acks: str, writer: int, count: int | None, replaces: float = 0.1) -> None:
    """Learn into the folder at `path`, merge, and replace it, by turns of this share; `acks` gets a
    line for each record that was flushed."""
    chance, at = Random(writer), 0
    said = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while count is None or at < count:
        lot = chance.random()
        if lot < replaces:
            replace(path)
        elif lot < replaces + 0.2:
            merge(path)
        else:
            size = chance.randrange(1, 4)
            add(path, Records.join([record(writer, at + i) for i in range(size)]))
            os.write(said, "".join(f"{writer} {at + i}\n" for i in range(size)).encode())
            at += size


def learner(
    path: str, acks: str | None, writer: int, count: int | None, background: bool = True
) -> None:
    """Learn answers into the bundle at `path` as a server does; `acks` gets a line for each that
    was flushed."""
    learn = LearnConfig(flush=0.0, background=background)
    learner = Learner(Bundle.open(path), lambda bundle: bundle.draft(), DraftConfig(), learn)
    said = os.open(acks or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    at = flushed = 0
    learner.start()
    while count is None or at < count:
        request = Request(str(at), np.array([1, 2, 3, at % 7], np.int32))
        learner.learn(request, output(writer, at))
        at += 1
        while at - flushed > 8 and learner.journal.unflushed:
            time.sleep(0.001)
        if not learner.journal.unflushed:
            os.write(said, "".join(f"{writer} {i}\n" for i in range(flushed, at)).encode())
            flushed = at
    learner.close()
    assert not learner.journal.unflushed, learner.stats()
    os.write(said, "".join(f"{writer} {i}\n" for i in range(flushed, at)).encode())


def unable(path: str, report: str, how: str) -> None:
    """Learn while nothing can be written, then while it can; what was said goes to `report`."""
    logged: list[str] = []
    logger = logging.getLogger("tascel.learning")
    logger.addHandler(_Listener(logged))
    learn, clock = LearnConfig(flush=0.0, background=False), Clock()
    learner = Learner(Bundle.open(path), lambda bundle: bundle.draft(), DraftConfig(), learn, clock)
    learner.start()
    stats, back = [], _hinder(how, Path(path))
    for at in range(6):
        clock.now += 10.0
        learner.learn(Request(str(at), np.array([1, 2, 3, at], np.int32)), output(0, at))
        if at in (2, 4):
            stats.append(asdict(learner.stats()))
        if at == 2:
            assert learner.recent.draft is not None  # what is learned drafts all the same
            back()
    learner.close()
    stats.append(asdict(learner.stats()))
    Path(report).write_text(json.dumps({"stats": stats, "logged": logged}))


def _hinder(how: str, path: Path) -> Callable[[], None]:
    """From now on nothing can be written, until what is returned is called."""
    if how == "size":  # of files: a write stops in the middle, as on a full disk
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if not os.getuid():  # who may do everything is somebody else for the time
        os.seteuid(65534)
        return lambda: os.seteuid(0)
    path.parent.chmod(0o555)
    return lambda: path.parent.chmod(0o755)


class Clock:
    now = 1.8e9

    def __call__(self) -> float:
        return self.now


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def indexing(path: str, acks: str, writer: int) -> None:
    """Learn some answers, and all that there is into the bundle's index, again and again."""
    while True:
        learner(path, acks, writer, 2, background=False)
        writer += 1000
        update.learn(path)


WORKS: dict[str, Callable[..., None]] = {
    "store": store, "learner": learner, "unable": unable, "indexing": indexing,
}  # fmt: skip


def main() -> None:
    for path in sys.argv[1:]:
        learner(path, None, 0, 40, background=False)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            try:
                if asked["operation"]:
                    kill_at(asked["operation"], asked["report"])
                WORKS[asked["work"]](**asked["with"])
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        say(child)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
