"""What a verify pass costs here: measured once for a model, device and dtype, kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from tascel.cache import cache_folder
from tascel.decode.engine import Engine
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.errors import TascelError
from tascel.store.file import whole_file

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64)
#: Tokens in the cache while measuring: a short prompt's worth, or half of a small context.
CONTEXT = 96
ROUNDS = 15
#: A busy machine is measured again, so many times at most.
AGAIN = 2
MUCH_LESS = 0.8
#: Widths and milliseconds that a kept price may have.
_WIDEST = 4096
_SOUND_MS = (1e-6, 1e9)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a price holds for: anything else is measured anew."""

    model: str
    weights: str
    device: str
    dtype: str
    threads: int
    runtime: str
    machine: str = ""

    @property
    def file(self) -> Path:
        """Where this setting's price is kept, in the user's cache."""
        key = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return _kept(f"{key[:16]}.json")


def machine() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} x{os.cpu_count()}"


def price_of(
    engine: Engine,
    setting: Setting,
    *,
    anew: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Price:
    """The price for `setting`: from its file, else measured now (seconds) and written there.

    Where it cannot be written it still holds, and a warning says so.
    """
    if not anew:
        known = _read(setting.file)
        if known is not None:
            return Price.from_points(known)
    points = measure(engine, progress)
    for _ in range(AGAIN):
        if not disturbed(points):
            break
        more = measure(engine, progress)
        points = {width: min(ms, more[width]) for width, ms in points.items()}
    content = {"setting": asdict(setting), "context": _context(engine), "ms": points}
    try:
        with whole_file(setting.file) as file:
            json.dump(content, file, indent=1)
    except (OSError, TascelError) as error:
        warnings.warn(
            "the verify cost cannot be kept and will be measured anew each time; name a folder "
            f"you may write to in TASCEL_CACHE ({error})",
            stacklevel=2,
        )
    return Price.from_points(points)


def read_price(file: Path) -> Price:
    """The price in `file`, as `tascel profile` keeps it; a bare name is looked for there, too.

    Raises:
        TascelError: it is not there, or holds no price.
    """
    if not file.exists() and file.name == str(file):
        file = _kept(file.name)
    points = _read(file)
    if points is None:
        what = "holds no price that can be used" if file.exists() else "no such file"
        raise TascelError(f"{file}: {what}", "`tascel profile` writes one and says where")
    return Price.from_points(points)


def disturbed(points: Mapping[int, float]) -> bool:
    """Whether a wide pass took much less than a narrower one: something else was running."""
    ms = [points[width] for width in sorted(points)]
    return any(wider < MUCH_LESS * max(ms[:i]) for i, wider in enumerate(ms) if i)


def measure(
    engine: Engine, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[int, float]:
    """Least milliseconds of a pass by its width, interleaved over widths; batch 1. What else runs
    on the machine only ever adds."""
    context = _context(engine)
    widths = [
        width
        for before, width in enumerate(WIDTHS)  # every pass leaves one token behind
        if width == 1 or (engine.drafts and context + before + width <= engine.draft_limit)
    ]
    prompt = (np.arange(context, dtype=np.int32) * 7919) % engine.vocab_size
    times: dict[int, list[float]] = {width: [] for width in widths}
    for round_ in range(ROUNDS):
        row, _ = engine.open(prompt, 2 * len(prompt))
        engine.check([row], [prompt], [Proposal.nothing()])
        engine.keep([row], [[]])
        for width in widths:
            proposal = Proposal.chain([(11 * i) % engine.vocab_size for i in range(width - 1)])
            started = perf_counter()
            (verdict,) = engine.check([row], [prompt[:1]], [proposal])
            verdict.argmax(-1)
            engine.keep([row], [[]])
            times[width].append(perf_counter() - started)
        engine.close(row)
        progress(round_ + 1, ROUNDS)
    return {width: 1000 * min(seconds[1:]) for width, seconds in times.items()}


def _kept(name: str) -> Path:
    return cache_folder("prices") / name


def _context(engine: Engine) -> int:
    """How many tokens lie in the cache while measuring; as many must fit behind them."""
    return max(1, min(CONTEXT, engine.draft_limit // 2))


def _read(file: Path) -> Mapping[int, float] | None:
    """The kept points. What is absent, damaged or beyond reason is measured again."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))["ms"]
        points = {int(width): float(ms) for width, ms in kept.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
            RecursionError):  # fmt: skip
        return None
    low, high = _SOUND_MS
    sound = all(0 < width <= _WIDEST and low < ms < high for width, ms in points.items())
    return points if sound and 1 in points else None
