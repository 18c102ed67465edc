"""Where a build keeps what it has made so far, so that one that was killed can go on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from tascel.codec import Codec
from tascel.errors import BundleError, TraceError
from tascel.store.file import is_full
from tascel.traces.shards import Shard

_LOCK, _TOKENIZER = ".lock", "tokenizer"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A `folder` for results, and where the `tokenizer` lies that all workers use: another one lies
    at another path, so that a process may keep what it has loaded."""

    folder: Path
    tokenizer: Path


def place(out: Path) -> Path:
    """The folder beside a bundle `out` that is built."""
    return out.with_name(f".{out.name}.building")


def facts_of(shards: Sequence[Shard]) -> list[object]:
    """What shards are: files count as the same while path, size and time are."""
    files = dict.fromkeys(shard.file for shard in shards)
    stats = [(str(file.resolve()), file.stat()) for file in files]
    listed = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return [listed, [shard.span for shard in shards]]


@contextmanager
def workspace(out: Path, facts: object, codec: Codec) -> Generator[Workspace]:
    """A place beside `out` that holds what a former build left which said the same `facts`, if they
    are not None, and had the same tokenizer.

    It goes when the block ends well. After an error it stays for the next build, unless the traces
    are wrong or there are no facts.

    Raises:
        BundleError: another process builds the same bundle, nothing can be written there, or the
            disk is full.
    """
    whole = place(out)
    try:
        whole.mkdir(parents=True, exist_ok=True)
        lock = FileLock(whole / _LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise BundleError(
            f"{out}: another process is building this bundle", "Wait for it, or stop it"
        ) from None
    except OSError as reason:
        raise BundleError(
            f"{out}: cannot be written ({reason.strerror})", "Choose a folder you may write to"
        ) from reason
    keep = False
    try:
        fresh = whole / f"{_TOKENIZER}.partial"
        _remove(fresh)
        codec.save(fresh)
        key = _key(facts, fresh)
        for other in whole.iterdir():
            if other not in (whole / _LOCK, fresh) and (other.name != key or facts is None):
                _remove(other)
        folder, tokenizer = whole / key, whole / key / _TOKENIZER
        folder.mkdir(exist_ok=True)
        if not tokenizer.exists():
            fresh.rename(tokenizer)
        _remove(fresh)
        yield Workspace(folder, tokenizer)
    except OSError as reason:
        keep = facts is not None
        if not is_full(reason):
            raise
        raise BundleError(
            f"{out}: the disk is full, nothing was changed", "Free some space and try again"
        ) from reason
    except BaseException as error:
        keep = facts is not None and not isinstance(error, TraceError)
        raise
    finally:
        if not keep:
            for other in whole.iterdir():
                if other.name != _LOCK:  # or else another build would come in before all is gone
                    _remove(other)
            shutil.rmtree(whole, ignore_errors=True)
        lock.release()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _key(facts: object, tokenizer: Path) -> str:
    made = hashlib.sha256(json.dumps([version("tascel"), facts]).encode())
    for file in sorted(tokenizer.iterdir()):
        made.update(file.name.encode() + file.read_bytes())
    return made.hexdigest()[:16]
