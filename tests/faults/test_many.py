"""Eight processes learn into one bundle: nothing is lost, whoever else is killed or replaces it."""

import os
import signal
import time
from random import Random


def test_eight_learn_into_one(eight, folder, tmp_path, nothing_lost):
    acks = tmp_path / "acks"
    for writer, parent in enumerate(eight):
        # Only one of them replaces the bundle: two would refuse each other.
        share = 0.0 if writer else 0.3
        parent.start(
            "store", path=str(folder), acks=str(acks), writer=writer, count=15, replaces=share
        )
    assert [parent.ended() for parent in eight] == [0] * 8
    assert nothing_lost(folder, acks) >= 8 * 15


def test_some_of_eight_are_killed(eight, folder, tmp_path, nothing_lost):
    acks, chance = tmp_path / "acks", Random(0)
    work = {"path": str(folder), "acks": str(acks), "replaces": 0.0}
    running = {
        writer: parent.start("store", writer=writer, count=25 if writer < 4 else None, **work)
        for writer, parent in enumerate(eight)
    }
    for writer in range(4, 8):
        time.sleep(chance.uniform(0, 0.2))
        os.kill(running[writer], signal.SIGKILL)
    assert [parent.ended() for parent in eight] == [0] * 4 + [-signal.SIGKILL] * 4
    nothing_lost(folder, acks)
