"""Files of past exchanges as a stream of traces: JSON lines or Parquet, either of them gzipped.

Knows file formats. One record is in memory at a time, so the size of a file does not matter.
"""

from __future__ import annotations

import glob
import gzip
import importlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from tascel.errors import TascelError, TraceError
from tascel.traces import record
from tascel.types import Trace

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
#: Bytes. A longer line is no trace, and must not be read into memory to find that out.
LONGEST_LINE = 1 << 28
_PIECE = 1 << 20
#: From where to where a file is read: bytes of JSON lines, row groups of Parquet. A line belongs to
#: where it begins.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands in a file: in its `number`-th line, counted from 1 at the byte `first`,
    or in its `number`-th row."""

    file: Path
    number: int
    first: int | None = None

    def __str__(self) -> str:
        """As people count, from the beginning of the file, which is read for it."""
        if self.first is None:
            return f"{self.file}: row {self.number}"
        return f"{self.file}:{self.number + _lines(self.file, self.first)}"


#: Where a record stands, and how to decode it, which raises ValueError with the reason.
Record = tuple[Place, Callable[[], Any]]
#: Hears which record was left out, and why.
LeftOut = Callable[[Place, str], None]


class BadLines:
    """Counts records that were left out; pass `add` to `read_traces` as its `on_bad`."""

    def __init__(self) -> None:
        self.count = 0
        self.first: TascelError | None = None

    def add(self, error: TascelError, count: int = 1) -> None:
        """Count records; the first one's reason is kept."""
        self.count += count
        self.first = self.first or error

    def __str__(self) -> str:
        if self.first is None:
            return "no bad records"
        plural = "record" if self.count == 1 else "records"
        return f"left out {self.count} bad {plural}, the first at {self.first.what}"


def read_traces(
    path: str | Path,
    *,
    skip_bad: bool = False,
    on_bad: Callable[[TraceError], None] | None = None,
    need_answer: bool = True,
) -> Iterator[Trace]:
    """Stream the traces of a file, of all files below a folder, or of a glob pattern, in order.

    Records hold `prompt` (text) and `output`, or OpenAI's `messages` whose last assistant turn is
    the answer; optional `tools`, `system`, `task`, `split`, `group`, `time`. Other keys are
    ignored.

    Args:
        path: `.jsonl` or `.parquet`, plain or gzipped (told apart by content, not by name).
        skip_bad: leave malformed records out instead of stopping at the first.
        on_bad: called with the error of each record left out.
        need_answer: a record without an answer is malformed; otherwise its trace has answer None.

    Raises:
        TraceError: nothing there, a damaged file, a malformed record, or not one good record.
    """

    def left_out(place: Place, why: str) -> None:
        if on_bad is not None:
            on_bad(malformed(place, why))

    found = False
    for file in files_at(path):
        for trace in traces_of(records_of(file), left_out if skip_bad else None, need_answer):
            found = True
            yield trace
    if not found:
        raise nothing_at(path)


def traces_of(
    records: Iterable[Record], left_out: LeftOut | None = None, need_answer: bool = True
) -> Iterator[Trace]:
    """The traces of records, as `read_traces` has them. Malformed ones end it, unless somebody
    hears that they were left out."""
    for place, decode in records:
        try:
            trace = record.trace(decode(), need_answer)
        except (ValueError, RecursionError) as reason:
            if left_out is None:
                raise malformed(place, record.why(reason)) from None
            left_out(place, record.why(reason))
        else:
            yield trace


def malformed(place: Place, why: str) -> TraceError:
    """A record that is none."""
    return TraceError(f"{place}: {why}", record.SHAPES)


def nothing_at(path: str | Path) -> TraceError:
    """Files without a trace."""
    return TraceError(f"{path}: holds no traces", record.SHAPES)


# Files


def files_at(path: str | Path) -> list[Path]:
    """The files that `read_traces` reads, in order.

    Raises:
        TraceError: there is none.
    """
    given = Path(path)
    if given.is_dir():
        names = (p for p in given.rglob("*") if p.is_file() and not p.name.startswith("."))
        files = sorted(p for p in names if p.name.removesuffix(".gz").endswith(SUFFIXES))
        if not files:
            raise TraceError(
                f"{path}: this folder holds no traces", f"They end in {', '.join(SUFFIXES)} [.gz]"
            )
        return files
    if given.exists():
        return [given]
    files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
    if not files:
        raise TraceError(f"{path}: no such file", "Check the path, or quote the glob pattern")
    return files


def records_of(path: Path, span: Span | None = None) -> Iterator[Record]:
    """The records of a file, or of a span of a file that is not gzipped.

    Raises:
        TraceError: it cannot be read, is damaged, or is no file of records.
    """
    try:
        with path.open("rb") as raw:
            if raw.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(raw) as unzipped:
                    yield from _plain_records(BufferedReader(cast(Any, unzipped)), path, True)
            else:
                yield from _plain_records(raw, path, False, span)
    except (EOFError, zlib.error, gzip.BadGzipFile) as reason:
        raise TraceError(
            f"{path}: the gzip data is cut off or damaged ({reason})", "Copy the file again"
        ) from None
    except OSError as reason:
        raise TraceError(
            f"{path}: cannot be read ({reason.strerror or reason})", "Check the file and its rights"
        ) from None


def _plain_records(
    stream: BufferedReader, path: Path, zipped: bool, span: Span | None = None
) -> Iterator[Record]:
    head = stream.peek(4096)[:4096]
    if head.startswith(b"PAR1"):
        if not zipped:
            yield from _parquet(stream, path, span)
            return
        with tempfile.TemporaryFile() as seekable:  # Parquet is read from its end
            shutil.copyfileobj(stream, seekable)
            yield from _parquet(seekable, path)
        return
    if b"\x00" in head or head.startswith(b"\x1f\x8b"):
        raise TraceError(
            f"{path}: is a binary file, or text that is not UTF-8",
            "Traces are JSON lines in UTF-8, or Parquet, plain or gzipped once",
        )
    yield from _json_lines(stream, path, span)


def _json_lines(stream: BufferedReader, path: Path, span: Span | None = None) -> Iterator[Record]:
    start, end = span or (0, None)
    first = at = _next_line(stream, start)
    number = 0
    while (end is None or at < end) and (line := stream.readline(LONGEST_LINE + 1)):
        number += 1
        at += len(line)
        place = Place(path, number, first)
        if len(line) > LONGEST_LINE:
            raise TraceError(
                f"{place}: the line is longer than {LONGEST_LINE >> 20} MB",
                "Write one JSON object on each line",
            )
        if number == 1 and not first:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield place, partial(record.from_json, line)


def _next_line(stream: BufferedReader, start: int) -> int:
    """Go to the first line that begins at `start` or behind it: where that is."""
    if not start:
        return 0
    at = stream.seek(start - 1)
    while piece := stream.readline(_PIECE):
        at += len(piece)
        if piece.endswith(b"\n"):
            break
    return at


def _lines(path: Path, end: int) -> int:
    """How many lines there are before the byte `end`, where one begins."""
    count, left = 0, end
    if left:  # else it may be a pipe
        with path.open("rb") as file:
            while left and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                count += piece.count(b"\n")
    return count


def row_groups(path: Path) -> list[int]:
    """The sizes in bytes of the row groups of a Parquet file.

    Raises:
        TraceError: it is damaged, or there is no pyarrow.
    """
    try:
        facts = _pyarrow(path).ParquetFile(path).metadata
        return [facts.row_group(at).total_byte_size for at in range(facts.num_row_groups)]
    except (ValueError, OSError) as reason:
        raise TraceError(
            f"{path}: is cut off or damaged ({reason})", "Copy the file again"
        ) from None


def _pyarrow(path: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise TraceError(
            f"{path}: reading Parquet needs pyarrow", "pip install 'tascel[parquet]'"
        ) from None


def _parquet(stream: IO[bytes], path: Path, span: Span | None = None) -> Iterator[Record]:
    parquet = _pyarrow(path)
    number = 0
    try:
        file = parquet.ParquetFile(stream)
        groups = range(*(span or (0, file.metadata.num_row_groups)))
        number = sum(file.metadata.row_group(at).num_rows for at in range(groups.start))
        present = [c for c in file.schema_arrow.names if c in record.FIELDS]
        for batch in file.iter_batches(256, [*groups], present):
            for i in range(batch.num_rows):
                number += 1
                yield Place(path, number), partial(_row, batch, i)
    except (ValueError, OSError) as reason:  # pyarrow's errors are subclasses of these
        raise TraceError(
            f"{path}: is cut off or damaged after row {number} ({reason})", "Copy the file again"
        ) from None


def _row(batch: Any, i: int) -> Any:
    return _without_nulls(batch.slice(i, 1).to_pylist()[0])


def _without_nulls(value: Any) -> Any:
    """A Parquet struct has every key of every row; the keys that are null here were never set."""
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return {key: _without_nulls(item) for key, item in items if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in cast(list[Any], value)]
    return value
