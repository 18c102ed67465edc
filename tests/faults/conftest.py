"""Processes that can be killed, and what must be true of the bundle they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tascel.builder import build
from tascel.records import Records
from tascel.store.folder import check_folder, read_folder
from tascel.store.manifest import Manifest
from tascel.store.replace import write_folder
from tascel.types import Trace

VOCAB = 1 << 20
HERE = Path(__file__).parent


class Parent:
    """A warm process that forks victims: the first one takes its time, the others none."""

    def __init__(self, folder: Path, *warm: Path) -> None:
        self.report = folder / "report"
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "victim.py"), *map(str, warm)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, work: str, operation: int = 0, **arguments: Any) -> int:
        """The id of a process that does `work`, and kills itself at a file operation if given."""
        self.report.unlink(missing_ok=True)
        asked = {"work": work, "operation": operation, "with": arguments}
        self._process.stdin.write(json.dumps(asked | {"report": str(self.report)}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def ended(self) -> int:
        """Waits for the process that was started last; its exit code, -9 if it was killed."""
        return int(self._process.stdout.readline())

    def kill_at(self, operation: int, work: str, **arguments: Any) -> str:
        """See a process killed at a file operation, and where that was."""
        self.start(work, operation, **arguments)
        assert self.ended() == -signal.SIGKILL
        return self.report.read_text()

    def kill_after(self, seconds: float, work: str, acks: Path, **arguments: Any) -> None:
        """Kill a process so long after it flushed something for the first time."""
        before = acks.stat().st_size if acks.exists() else 0
        process = self.start(work, acks=str(acks), **arguments)
        last = time.monotonic() + 60
        while not acks.exists() or acks.stat().st_size == before:
            assert time.monotonic() < last, "nothing is ever flushed"
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
        assert self.ended() == -signal.SIGKILL

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@pytest.fixture
def parent(tmp_path) -> Iterator[Parent]:
    made = Parent(tmp_path)
    yield made
    made.close()


@pytest.fixture
def eight(tmp_path) -> Iterator[list[Parent]]:
    made = [Parent(tmp_path) for _ in range(8)]
    yield made
    for parent in made:
        parent.close()


@pytest.fixture(scope="session")
def built(toy_folder, tmp_path_factory) -> Path:
    """A bundle of thirty exchanges, to be copied."""
    traces = [
        Trace(
            ({"role": "user", "content": f"light {i}"},),
            {"role": "assistant", "content": f"the lamp {i % 7}"},
        )
        for i in range(30)
    ]
    return build(traces, toy_folder, tmp_path_factory.mktemp("built") / "b").path


@pytest.fixture
def bundle(built, tmp_path) -> Path:
    """A bundle to learn into."""
    return Path(shutil.copytree(built, tmp_path / "b"))


@pytest.fixture(scope="session")
def warm(built, tmp_path_factory) -> Iterator[list[Parent]]:
    """Eight processes that have learned before."""
    folder = tmp_path_factory.mktemp("warm")
    made = [
        Parent(folder / str(i), Path(shutil.copytree(built, folder / str(i) / "b")))
        for i in range(8)
    ]
    yield made
    for parent in made:
        parent.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder that could be a bundle's."""
    about = Manifest("org/model", None, "f00d", VOCAB, (8,), {}, ("tascel", "build"), ("all",))

    def fill(folder: Path) -> Manifest:
        (folder / "page.md").write_text("x")
        return about

    write_folder(tmp_path / "b", fill)
    return tmp_path / "b"


def said(acks: Path) -> set[tuple[int, int]]:
    """What was flushed, for all that the writers know."""
    if not acks.exists():
        return set()
    lines = acks.read_text().splitlines()
    return {(int(writer), int(at)) for writer, at in map(str.split, lines)}


def holds(path: Path) -> list[tuple[int, int]]:
    """What a whole, undamaged bundle holds of what was learned, in its index or beside it."""

    def read(manifest: Manifest) -> list[Records]:
        names = [name for name in manifest.files if name.startswith(("records/", "learned/"))]
        return [Records.read(path / name, VOCAB) for name in names]

    check_folder(path)
    outputs = [out.tolist() for part in read_folder(path, read) for out in part.outputs]
    ours = [out for out in outputs if len(out) == 4 and max(out) < 100]  # the others were built
    return [(100 * a + b, 100 * c + d) for a, b, c, d in ours]


@pytest.fixture(scope="session")
def nothing_lost() -> Callable[[Path, Path], int]:
    def check(path: Path, acks: Path) -> int:
        """The bundle is whole, holds all that was flushed, and nothing twice; how much that is."""
        flushed, there = said(acks), holds(path)  # in this order: others may be learning
        assert not flushed - set(there)
        assert len(there) == len(set(there))
        return len(there)

    return check


@pytest.fixture(scope="session")
def found() -> Callable[[Path], list[tuple[int, int]]]:
    return holds
