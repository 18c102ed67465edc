"""One writer at a time, and nobody waits for the dead."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from tascel.errors import BundleError
from tascel.store.lock import locked

HOLDER = """
import sys, time
from tascel.store.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path) -> subprocess.Popen:
    args = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def kill(process) -> None:
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()


def test_one_at_a_time_and_the_dead_hold_nothing(tmp_path):
    path = tmp_path / "b"
    process = holder(path)
    with pytest.raises(BundleError, match="another process is writing this bundle") as caught:
        locked(path, wait=0.05).__enter__()
    assert caught.value.remedy
    kill(process)
    assert (tmp_path / ".b.lock").exists()  # stale, and no obstacle
    with locked(path, wait=0):
        pass


def test_a_thread_takes_its_own_lock_again_and_no_other_thread_does(tmp_path):
    path = tmp_path / "b"
    (tmp_path / "link").symlink_to(path)
    refused = []

    def try_it():
        try:
            with locked(path, wait=0):
                pass
        except BundleError as reason:
            refused.append(reason)

    def other():
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()

    with locked(path):
        with locked(tmp_path / "link", wait=0):
            other()
        other()
    assert len(refused) == 2
    other()
    assert len(refused) == 2


def test_the_block_fails_and_the_lock_is_free(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "b"):
        _ = 1 / 0
    process = holder(tmp_path / "b")
    kill(process)


def test_no_place_for_a_lock(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="cannot be locked"), locked(tmp_path / "file" / "b"):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(handle, how):
        raise OSError(errno.EOPNOTSUPP, "no locks on this file system")

    monkeypatch.setattr(fcntl, "flock", flock)
    path, marker = tmp_path / "b", tmp_path / ".b.lock-by"
    with locked(path):
        assert marker.read_text().startswith(f"{os.getpid()}\n")
    assert not marker.exists()
    with locked(path):
        held = marker.read_text()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    marker.write_text(f"{dead.pid}\n" + held.split("\n")[1] + "\n")
    with locked(path, wait=30):  # who held it is gone
        assert marker.read_text().startswith(f"{os.getpid()}\n")
