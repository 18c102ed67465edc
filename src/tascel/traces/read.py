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
from collections.abc import Callable, Iterator
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
#: A record's place ("file:line") and how to decode it; decoding raises ValueError with the reason.
_Record = tuple[str, Callable[[], Any]]


class BadLines:
    """Counts the records that `read_traces` left out: pass `add` as its `on_bad`."""

    def __init__(self) -> None:
        self.count = 0
        self.first: TascelError | None = None

    def add(self, error: TascelError) -> None:
        """Count one record; the first one's reason is kept."""
        self.count += 1
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
    found = False
    for file in _files(path):
        for place, decode in _records(file):
            try:
                trace = record.trace(decode(), need_answer)
            except (ValueError, RecursionError) as reason:
                error = TraceError(f"{place}: {record.why(reason)}", record.SHAPES)
                if not skip_bad:
                    raise error from None
                if on_bad is not None:
                    on_bad(error)
            else:
                found = True
                yield trace
    if not found:
        raise TraceError(f"{path}: holds no traces", record.SHAPES)


# Files


def _files(path: str | Path) -> list[Path]:
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


def _records(path: Path) -> Iterator[_Record]:
    try:
        with path.open("rb") as raw:
            if raw.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(raw) as unzipped:
                    yield from _plain_records(BufferedReader(cast(Any, unzipped)), path, True)
            else:
                yield from _plain_records(raw, path, False)
    except (EOFError, zlib.error, gzip.BadGzipFile) as reason:
        raise TraceError(
            f"{path}: the gzip data is cut off or damaged ({reason})", "Copy the file again"
        ) from None
    except OSError as reason:
        raise TraceError(
            f"{path}: cannot be read ({reason.strerror or reason})", "Check the file and its rights"
        ) from None


def _plain_records(stream: BufferedReader, path: Path, zipped: bool) -> Iterator[_Record]:
    head = stream.peek(4096)[:4096]
    if head.startswith(b"PAR1"):
        if not zipped:
            yield from _parquet(stream, path)
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
    yield from _json_lines(stream, path)


def _json_lines(stream: BufferedReader, path: Path) -> Iterator[_Record]:
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise TraceError(
                f"{path}:{number}: the line is longer than {LONGEST_LINE >> 20} MB",
                "Write one JSON object on each line",
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield f"{path}:{number}", partial(record.from_json, line)


def _parquet(stream: IO[bytes], path: Path) -> Iterator[_Record]:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise TraceError(
            f"{path}: reading Parquet needs pyarrow", "pip install 'tascel[parquet]'"
        ) from None
    number = 0
    try:
        file = parquet.ParquetFile(stream)
        present = [c for c in file.schema_arrow.names if c in record.FIELDS]
        for batch in file.iter_batches(batch_size=256, columns=present):
            for i in range(batch.num_rows):
                number += 1
                yield f"{path}: row {number}", partial(_row, batch, i)
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
