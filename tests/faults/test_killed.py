"""kill -9 at any moment: the bundle opens, is whole, and holds all that was flushed."""

import os
from random import Random

import pytest

from tascel.store.amend import Change, amend


@pytest.mark.parametrize(
    ("inside", "share", "calls"),
    [
        ("amend", 0.0, {"open", "write", "close", "fsync", "replace", "unlink", "flock"}),
        ("write_folder", 0.7, {"open", "mkdir", "fsync", "link", "replace", "unlink", "rmdir"}),
    ],
)
def test_killed_inside_writes(parent, folder, tmp_path, nothing_lost, inside, share, calls):
    """At the first file operation of a process that learns, at the fourth, the seventh, and so on;
    each has its own turns."""
    acks, where = tmp_path / "acks", set()
    for at in range(1, 451, 3):
        report = parent.kill_at(
            at, "store",
            path=str(folder), acks=str(acks), writer=at, count=None, replaces=share,
        )  # fmt: skip
        where.add(tuple(report.split()[:2]))
        nothing_lost(folder, acks)
    assert calls <= {call for function, call in where if function == inside}
    leaves_nothing(folder)


def test_killed_at_random_times(parent, folder, tmp_path, nothing_lost):
    acks, chance = tmp_path / "acks", Random(0)
    for writer in range(250):
        seconds = chance.uniform(0, 0.01)
        parent.kill_after(seconds, "store", acks, path=str(folder), writer=writer, count=None)
        nothing_lost(folder, acks)
    leaves_nothing(folder)


def leaves_nothing(folder):
    amend(folder, lambda _: Change())  # removes what no manifest lists
    assert set(os.listdir(folder)) == {"learned", "manifest.json", "page.md"}
    assert set(os.listdir(folder.parent)) <= {"acks", "b", ".b.lock", ".b.writing", "report"}
