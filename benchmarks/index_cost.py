"""What an index costs to build, keep and open: each figure from a process of its own.

Used by draft_speed.py. Memory is read from /proc, so this runs on Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from tascel.bench import peers
from tascel.draft.corpus import Corpus
from tascel.types import Ids

#: A new process opens a segment: milliseconds.
OPEN = """
import json, sys
from time import perf_counter as now
import numpy as np
from tascel.store.folder import map_array
start = now()
arrays = [map_array(f"{sys.argv[1]}/{name}.npy", np.int32) for name in ("text", "array")]
print(json.dumps({"map": 1000 * (now() - start)}))
"""
#: A new process opens a bundle and drafts once: milliseconds by stage.
DRAFT = """
import json, sys
from time import perf_counter as now
at = [now()]
import numpy as np
from tascel.bundle import Bundle
from tascel.draft.price import Price
from tascel.types import Request
at.append(now())
bundle = Bundle.open(sys.argv[1])
at.append(now())
session = bundle.draft().open(Request("", np.array([1, 2, 3], np.int32)))
at.append(now())
session.propose(16, Price.free())
at.append(now())
stages = ("import", "open", "kernels", "propose")
print(json.dumps({s: 1000 * (b - a) for s, a, b in zip(stages, at, at[1:])}))
"""


def fresh(code: str, path: Path, repeats: int) -> dict[str, float]:
    """Milliseconds of new interpreters that run `code`, and of what it prints: medians."""
    runs: list[dict[str, float]] = []
    for _ in range(repeats + 1):
        start = perf_counter()
        command = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, check=True, capture_output=True)
        wall = 1000 * (perf_counter() - start)
        runs.append({"wall": wall} | json.loads(done.stdout))
    warm = runs[1:]  # the first one fills the caches
    return {name: round(median(run[name] for run in warm), 2) for name in runs[0]}


def alone(call: Callable[..., dict[str, float]], *args: object) -> dict[str, float]:
    """What `call` returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *args).result()


def index(folder: Path) -> dict[str, float]:
    """Index the folder's text and leave the suffix array there. Memory is the highest resident
    size while `Corpus.of` runs, less that before it and less the text's own 4 bytes a token."""
    text = np.load(folder / "text.npy")
    outputs = [part[1:] for part in np.split(text, np.flatnonzero(text < 0)) if len(part)]
    n, seconds = len(text), []
    Corpus.of(outputs[:100])  # compiles
    Path("/proc/self/clear_refs").write_text("5")  # the highest size starts from here
    before = memory("VmRSS")
    for _ in range(3):
        start = perf_counter()
        corpus = Corpus.of(outputs)
        seconds.append(perf_counter() - start)
        if len(seconds) == 1:
            extra = memory("VmHWM") - before - 4 * n
            np.save(folder / "array.npy", corpus.array)
        del corpus
    disk = sum((folder / f"{name}.npy").stat().st_size for name in ("text", "array"))
    return {
        "tokens": n,
        "tokens_per_second": n / median(seconds),
        "extra_bytes_per_token": extra / n,
        "disk_bytes_per_token": disk / n,
    }


def insert(outputs: Sequence[Ids], depth: int) -> dict[str, float]:
    """arctic's rate of insertion, and the growth of the resident size that stays."""
    warmed(outputs[:1], depth)
    before, start, n = memory("VmRSS"), perf_counter(), sum(map(len, outputs))
    cache = warmed(outputs, depth)
    seconds = perf_counter() - start
    return {
        "depth": cache.max_tree_depth,
        "tokens": n,
        "tokens_per_second": n / seconds,
        "resident_bytes_per_token": (memory("VmRSS") - before) / n,
    }


def warmed(outputs: Sequence[Ids], depth: int) -> Any:
    """arctic's cache after it has written `outputs`."""
    return peers.warmed(outputs, np.empty(0, np.int32), depth)


def memory(entry: str) -> int:
    """Bytes of this process by /proc: VmRSS is resident now, VmHWM the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry))
