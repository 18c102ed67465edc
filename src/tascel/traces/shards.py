"""Files of traces cut into shards: by what is in them, whoever reads them and however many do."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tascel.errors import TraceError
from tascel.traces.read import LeftOut, Span, files_at, records_of, row_groups, traces_of
from tascel.types import Trace

#: Bytes of a shard, on which a worker reads for a minute at most; larger where there would be more
#: than `MOST` shards.
SIZE, MOST = 16 << 20, 10_000


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of traces, or a `span` of it."""

    file: Path
    span: Span | None = None

    def traces(self, left_out: LeftOut | None = None) -> Iterator[Trace]:
        """Its traces, as `read_traces` has them; none is no error. `left_out` hears of malformed
        records.

        Raises:
            TraceError: a damaged file, or a malformed record and nobody who hears of it.
        """
        return traces_of(records_of(self.file, self.span), left_out)


def cut(path: str | Path, size: int | None = None) -> list[Shard]:
    """The files that `read_traces` reads as shards of about `size` bytes (default: by how much
    there is): one behind the other they are the same traces in the same order. What is gzipped
    cannot be cut.

    Raises:
        TraceError: nothing there, or a damaged file.
    """
    looked = [(file, *_look(file)) for file in files_at(path)]
    if size is None:
        size = max(SIZE, sum(length for _, _, length in looked) // MOST)
    return [shard for file in looked for shard in _cut(*file, size)]


def _look(file: Path) -> tuple[bytes, int]:
    """How a file begins, and how long it is; nothing of a pipe, which can be read but once."""
    try:
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):
            return b"", 0
        with file.open("rb") as stream:
            return stream.read(4), facts.st_size
    except OSError as reason:
        raise TraceError(
            f"{file}: cannot be read ({reason.strerror})", "Check the file and its rights"
        ) from None


def _cut(file: Path, head: bytes, length: int, size: int) -> list[Shard]:
    if length <= size or head.startswith(b"\x1f\x8b"):
        return [Shard(file)]
    if head == b"PAR1":
        return [Shard(file, span) for span in _joined(row_groups(file), size)]
    return [Shard(file, (at, min(at + size, length))) for at in range(0, length, size)]


def _joined(sizes: list[int], size: int) -> Iterator[Span]:
    """Runs of neighbours of about `size` together."""
    start = held = 0
    for at, more in enumerate(sizes):
        if held and held + more > size:
            yield start, at
            start, held = at, 0
        held += more
    if sizes:
        yield start, len(sizes)
