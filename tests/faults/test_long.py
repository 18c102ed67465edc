"""A learner that runs for long: neither memory nor files nor handles grow."""

import os
from pathlib import Path
from random import Random

import numpy as np

from tascel.bundle import Bundle
from tascel.draft.ngram import DraftConfig
from tascel.learning import LearnConfig, Learner
from tascel.learning.journal import FILES
from tascel.store.folder import check_folder
from tascel.types import Request

HOURS, TOKENS, PAUSE = 12, 200, 60.0


def test_hours_pass(bundle):
    """An answer a minute, of which a few hours' are kept, flushed every five."""
    now, chance, noted = [1.8e9], Random(0), []
    learn = LearnConfig(tokens=TOKENS, days=0.25, flush=5 * PAUSE, background=False)
    learner = Learner(
        Bundle.open(bundle), lambda b: b.draft(), DraftConfig(), learn, lambda: now[0]
    )
    learner.start()
    built = len(files(bundle)) - len(check_folder(bundle).learned)
    for hour in range(HOURS):
        for minute in range(60):
            now[0] += PAUSE
            prompt = np.array(chance.choices(range(200), k=20), np.int32)
            if learner.recent.draft is not None:
                learner.recent.draft.open(Request("r", prompt)).close()
            learner.learn(Request(f"{hour}:{minute}", prompt), chance.choices(range(200), k=6))
            stats = learner.stats()
            assert stats.tokens <= 2 * TOKENS
            assert stats.unflushed <= 6
            learned = len(files(bundle)) - built
            assert learned <= FILES + 2  # one that was just written, and one to be merged into
        noted.append((resident(), handles()))
    learner.close()
    stats = learner.stats()
    assert (stats.unflushed, stats.errors, stats.lost) == (0, 0, 0)
    check_folder(bundle)
    memory, open_files = map(list, zip(*noted, strict=True))
    assert max(open_files[2:]) <= open_files[1]
    assert memory[-1] < memory[HOURS // 2] + 8 * 2**20


def files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()]


def handles() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc").exists() else 0


def resident() -> int:
    """Bytes; what is not told does not grow."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")
