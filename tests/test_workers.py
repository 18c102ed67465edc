"""Jobs over one process, several, and what happens when one dies."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from tascel.errors import TascelError, TraceError
from tascel.workers import Crew, checked


@pytest.fixture(autouse=True)
def work(monkeypatch):
    """Jobs as a module that other processes find, too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return import_module("jobs_of_workers")


def jobs(n=7):
    return {f"r{i}": i for i in range(n)}


def quiet(stage, done, total):
    pass


@pytest.mark.parametrize("workers", [1, 2])
def test_results_lie_where_they_are_named(work, tmp_path, workers):
    heard = []
    with Crew(workers, tmp_path) as crew:
        found = crew.run("squaring", jobs(), work.square, lambda *said: heard.append(said), 21)
        assert [(name, path.read_text()) for name, path in found.items()] == [
            (f"r{i}", str(i * i)) for i in range(7)
        ]
        folders = crew.run("again", {"f": 5}, work.as_folder, quiet)
    assert (folders["f"] / "n").read_text() == "5"
    assert heard[0] == ("squaring", 0, 21)
    assert heard[-1] == ("squaring", 21, 21)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", *(f"r{i}" for i in range(7))]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_jobs_error_is_told_as_it_was_raised(work, tmp_path, workers):
    with Crew(workers, tmp_path) as crew, pytest.raises(TraceError) as told:
        crew.run("refusing", {"r": 1}, work.refuse, quiet)
    assert (told.value.what, told.value.remedy) == ("job 1 is bad", "Mend it")
    assert not any(tmp_path.iterdir())


def test_what_is_there_is_not_made_again(work, tmp_path):
    (tmp_path / "r2").write_text("before")
    with Crew(1, tmp_path) as crew:
        found = crew.run("squaring", jobs(4), work.square, quiet)
    assert [path.read_text() for path in found.values()] == ["0", "1", "before", "9"]


def test_a_killed_worker_is_replaced(work, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    heard = []
    with Crew(2, folder) as crew:
        dying = partial(work.die, folder=tmp_path, times=2)
        found = crew.run("dying", jobs(), dying, lambda *said: heard.append(said[1]))
    assert [path.read_text() for path in found.values()] == [*map(str, range(7))]
    assert heard[-1] == 35  # what a killed one had done does not count


def test_a_job_that_kills_every_worker_ends_the_run(work, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    with Crew(2, folder) as crew, pytest.raises(TascelError, match="dying: 3 workers"):
        crew.run("dying", jobs(), partial(work.die, folder=tmp_path, times=99), quiet)
    assert {f"r{i}" for i in range(7) if i != 3} <= {path.name for path in folder.iterdir()}


def test_one_that_is_killed_while_it_tells_how_far_it_is_stops_nobody(work, tmp_path):
    (tmp_path / "results").mkdir()
    found = {}

    def run():
        with Crew(2, tmp_path / "results") as crew:
            found.update(
                crew.run("dying", jobs(), partial(work.die_telling, folder=tmp_path), quiet)
            )

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(120)
    assert [path.read_text() for path in found.values()] == [*map(str, range(7))]


def late(seconds):
    """Workers of another machine: what they wrote is seen here some time later."""

    class Late:
        def run(self, stage, tasks, heard):
            for name, task in tasks.items():
                threading.Timer(seconds, task, [lambda more: None]).start()
                yield name

        def close(self):
            pass

    return Late()


def test_what_another_machine_wrote_may_be_seen_late(work, tmp_path, monkeypatch):
    crew = Crew(1, tmp_path)
    crew._hands = late(0.05)
    found = crew.run("squaring", jobs(2), work.square, quiet)
    assert [path.read_text() for path in found.values()] == ["0", "1"]
    monkeypatch.setattr("tascel.workers.crew._ARRIVES", 0)
    crew._hands = late(0.5)
    with pytest.raises(TascelError, match="is not here"):
        crew.run("again", {"r": 1}, work.square, quiet)
    while not (tmp_path / "r").exists():  # or it would be written into the next test
        time.sleep(0.05)


def test_only_numbers_and_ray_are_workers():
    assert checked("3") == 3
    for wrong in (0, -1, "many", ""):
        with pytest.raises(TascelError, match="workers cannot be"):
            checked(wrong)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TascelError, match=r"tascel\[ray\]"):
        checked("ray")


def test_workers_end_with_a_master_that_is_killed(tmp_path):
    script = tmp_path / "master.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from pathlib import Path
            from tascel.workers import Crew

            def sleep(job, out, tick):
                (Path(sys.argv[1]) / f"pid{job}").write_text(str(os.getpid()))
                time.sleep(60)

            if __name__ == "__main__":
                with Crew(2, Path(sys.argv[1])) as crew:
                    crew.run("sleeping", {"a": 1, "b": 2}, sleep, lambda *said: None)
            """
        )
    )
    master = subprocess.Popen([sys.executable, script, tmp_path], stderr=subprocess.DEVNULL)
    pids = [tmp_path / "pid1", tmp_path / "pid2"]
    while not all(p.exists() and p.read_text() for p in pids):
        assert master.poll() is None
        time.sleep(0.05)
    master.kill()
    master.wait()
    for pid in pids:
        while alive(int(pid.read_text())):
            time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().split()[2] != "Z"
