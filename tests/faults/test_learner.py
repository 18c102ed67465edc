"""Learning as a server does it, in the background: killed, and many processes at once."""

import shutil
from random import Random

from tascel.building import update
from tascel.bundle import Bundle


def test_killed_inside_its_writes(warm, built, tmp_path, nothing_lost):
    where = set()
    for start in range(1, 11):
        path, acks = fresh(built, tmp_path)
        for at in range(start, 601, 60):
            place = warm[0].kill_at(
                at, "learner", path=str(path), acks=str(acks), writer=at, count=None
            )
            where.add(place)
            nothing_lost(path, acks)
        Bundle.open(path)
    assert all(place.startswith("amend ") for place in where)
    assert {"write", "fsync", "replace"} <= {place.split()[1] for place in where}


def test_killed_at_random_times(warm, built, tmp_path, nothing_lost):
    chance = Random(0)
    for _ in range(10):
        path, acks = fresh(built, tmp_path)
        for writer in range(5):
            seconds = chance.uniform(0, 0.02)
            warm[0].kill_after(seconds, "learner", acks, path=str(path), writer=writer, count=None)
            nothing_lost(path, acks)
        Bundle.open(path)


def test_eight_learn_into_one(warm, built, tmp_path, nothing_lost):
    path, acks = fresh(built, tmp_path)
    for writer, parent in enumerate(warm):
        parent.start("learner", path=str(path), acks=str(acks), writer=writer, count=60)
    assert [parent.ended() for parent in warm] == [0] * 8
    assert nothing_lost(path, acks) == 8 * 60


def test_indexing_while_others_learn(warm, built, tmp_path, nothing_lost):
    """What servers learn while an index is made goes over into the new bundle."""
    path, acks = fresh(built, tmp_path)
    for writer, parent in enumerate(warm[:4]):
        parent.start("learner", path=str(path), acks=str(acks), writer=writer, count=50)
    for _ in range(3):
        update.learn(path)
        nothing_lost(path, acks)
    assert [parent.ended() for parent in warm[:4]] == [0] * 4
    update.learn(path)
    assert nothing_lost(path, acks) == 4 * 50
    assert not Bundle.open(path).manifest.learned


def test_killed_while_indexing(warm, built, tmp_path, nothing_lost):
    path, acks = fresh(built, tmp_path)
    where = set()
    for at in range(1, 801, 80):
        where.add(warm[0].kill_at(at, "indexing", path=str(path), acks=str(acks), writer=at))
        nothing_lost(path, acks)
    assert "write_folder" in {place.split()[0] for place in where}
    Bundle.open(path)


def fresh(built, tmp_path):
    """A bundle as it was built, and a place for what is said to be flushed."""
    path, acks = tmp_path / "b", tmp_path / "acks"
    shutil.rmtree(path, ignore_errors=True)
    acks.unlink(missing_ok=True)
    return shutil.copytree(built, path), acks
