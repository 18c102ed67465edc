"""One lock for all who change a bundle, in this process and in others."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from tascel.errors import BundleError

_POLL = 0.01  # seconds
_UNABLE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF)  # to lock files


@contextmanager
def locked(bundle: str | Path, wait: float = 10.0) -> Generator[None]:
    """Nobody else changes the bundle at this path as long as the block runs.

    The lock is a file beside the folder, `.NAME.lock`, which stays. The system gives it up when its
    holder dies, so one that a killed process left is no obstacle; where a file system knows no
    locks, `.NAME.lock-by` says who holds it, and is void once that process is gone. A thread may
    take a lock that it already holds.

    Args:
        bundle: the bundle's folder, which need not be there.
        wait: how long to wait for another holder, in seconds.

    Raises:
        BundleError: another process held it all the time, or the lock file cannot be written.
    """
    path = Path(bundle).resolve()
    try:
        lock = _taken(path, wait)
    except Timeout:
        raise BundleError(
            f"{path}: another process is writing this bundle", "Wait for it, or stop it"
        ) from None
    except OSError as reason:
        raise BundleError(
            f"{path}: cannot be locked by a file beside it ({reason.strerror})",
            "Keep the bundle in a folder you may write to",
        ) from reason
    try:
        yield
    finally:
        lock.release()


def _taken(path: Path, wait: float) -> BaseFileLock:
    # One object a path: its holds are counted for each thread by itself.
    lock = FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True)
    try:
        lock.acquire(timeout=wait, poll_interval=_POLL)
    except OSError as reason:
        if isinstance(reason, Timeout) or reason.errno not in _UNABLE:
            raise
        lock = SoftFileLock(path.with_name(f".{path.name}.lock-by"), is_singleton=True)
        lock.acquire(timeout=wait, poll_interval=_POLL)
    return lock
