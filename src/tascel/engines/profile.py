"""What a pass costs here by its rows and tokens: measured once for a model, device and dtype, kept
in a file."""

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
from tascel.decode.engine import Engine, Row
from tascel.draft.base import Proposal
from tascel.draft.price import Points, Price
from tascel.errors import TascelError
from tascel.store.file import whole_file
from tascel.types import Ids

#: Tokens of a lone row's pass, and how often each is measured.
WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64)
ROUNDS = 15
#: Rows of a batch, tokens of each of them, and how often each is measured.
BATCHES = (4, 8, 16)
BATCH_WIDTHS = (1, 2, 4, 8, 16)
BATCH_ROUNDS = 5
#: Tokens in a row's cache while measuring: a short prompt's worth, or half of a small context
#: or cache.
CONTEXT = 96
#: So many rejected tokens may lie in a row's cache before another row is taken: engines that run
#: one row after the other may leave them there, masked, and pay for them in every later pass.
REJECTED = 32
#: A busy machine is measured again, so many times at most.
AGAIN = 2
MUCH_LESS = 0.8
#: Tokens and milliseconds that a kept price may have.
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

    Where it cannot be written it still holds, and a warning says so. It is not kept where the cache
    has no room for all the batches.
    """
    if not anew:
        known = kept_price(setting)
        if known is not None:
            return known
    points = measure_all(engine, progress)
    if len(points) <= len(BATCHES):  # this cache is too small for some; another one may not be
        return Price.from_rows(points)
    keep_price(setting, points, _context(engine))
    return Price.from_rows(points)


def keep_price(setting: Setting, points: Points, context: int) -> None:
    """Write what was measured for `setting`, with `context` tokens in the cache, to its file; a
    warning says so where that cannot be done."""
    content = {"setting": asdict(setting), "context": context, "ms": points}
    try:
        with whole_file(setting.file) as file:
            json.dump(content, file, indent=1)
    except (OSError, TascelError) as error:
        warnings.warn(
            "the verify cost cannot be kept and will be measured anew each time; name a folder "
            f"you may write to in TASCEL_CACHE ({error})",
            stacklevel=3,
        )


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
    return Price.from_rows(points)


def kept_price(setting: Setting) -> Price | None:
    """The price that was measured for `setting`, None if none was."""
    points = _read(setting.file)
    return None if points is None else Price.from_rows(points)


def disturbed(points: Mapping[int, float]) -> bool:
    """Whether a wide pass took much less than a narrower one: something else was running."""
    ms = [points[width] for width in sorted(points)]
    return any(wider < MUCH_LESS * max(ms[:i]) for i, wider in enumerate(ms) if i)


def undisturbed(measured: Callable[[], dict[int, float]]) -> dict[int, float]:
    """The least of several measurements by width: again while something else seems to run."""
    points = measured()
    for _ in range(AGAIN):
        if not disturbed(points):
            break
        more = measured()
        points = {width: min(ms, more[width]) for width, ms in points.items()}
    return points


def measure_all(
    engine: Engine, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[int, dict[int, float]]:
    """Least milliseconds of a pass by its rows and, of all rows together, tokens; a lone row is
    measured again where something else was running. Rows that run one after the other cost what
    each costs alone."""
    batches = BATCHES if engine.packed else ()
    total = ROUNDS + BATCH_ROUNDS * len(batches)
    prefixes, engine.prefixes = engine.prefixes, False  # every round as if it were the first
    points = undisturbed(lambda: measure(engine, 1, lambda done: progress(done, total)))
    found = {1: points}
    if not engine.packed:
        alone = {width: points[width] for width in BATCH_WIDTHS if width in points}
        found |= {rows: {rows * n: rows * ms for n, ms in alone.items()} for rows in BATCHES}
    for at, rows in enumerate(batches):
        done_before = ROUNDS + BATCH_ROUNDS * at
        found[rows] = measure(engine, rows, lambda done, n=done_before: progress(n + done, total))
    engine.prefixes = prefixes
    engine.forget()
    return {rows: points for rows, points in found.items() if points}


def measure(
    engine: Engine, rows: int = 1, progress: Callable[[int], None] = lambda done: None
) -> dict[int, float]:
    """Least milliseconds of a pass of `rows` rows by its tokens, interleaved over widths. What else
    runs on the machine only ever adds. Empty if the cache has no room for so many rows."""
    rounds, offered = (ROUNDS, WIDTHS) if rows == 1 else (BATCH_ROUNDS, BATCH_WIDTHS)
    context = _context(engine)
    widths = [
        width
        for before, width in enumerate(offered)  # every pass leaves one token behind
        if width == 1 or (engine.drafts and context + before + width <= engine.draft_limit)
    ]
    prompt = (np.arange(context, dtype=np.int32) * 7919) % engine.vocab_size
    times: dict[int, list[float]] = {rows * width: [] for width in widths}
    nothing: list[list[int]] = [[] for _ in range(rows)]
    for round_ in range(rounds):
        opened, rejected = _open(engine, rows, prompt), 0
        for width in widths if len(opened) == rows else ():
            if rejected > REJECTED and not engine.packed:
                for row in opened:
                    engine.close(row)
                opened, rejected = _open(engine, rows, prompt), 0
            proposal = Proposal.chain([(11 * i) % engine.vocab_size for i in range(width - 1)])
            started = perf_counter()
            verdicts = engine.check(opened, rows * [prompt[:1]], rows * [proposal])
            for verdict in verdicts:
                verdict.argmax(-1)
            engine.keep(opened, nothing)
            times[rows * width].append(perf_counter() - started)
            rejected += width - 1
        for row in opened:
            engine.close(row)
        progress(round_ + 1)
    return {tokens: 1000 * min(seconds[1:]) for tokens, seconds in times.items() if seconds}


def _open(engine: Engine, rows: int, prompt: Ids) -> list[Row]:
    """Up to `rows` rows that have read `prompt`, as many as the cache has room for."""
    opened: list[Row] = []
    while len(opened) < rows and engine.fits(2 * len(prompt)):
        row, shared = engine.open(prompt, 2 * len(prompt))
        engine.check([row], [prompt[shared:]], [Proposal.nothing()])
        engine.keep([row], [[]])
        opened.append(row)
    return opened


def _kept(name: str) -> Path:
    return cache_folder("prices") / name


def _context(engine: Engine) -> int:
    """How many tokens lie in the cache while measuring; as many must fit behind them."""
    return max(1, min(CONTEXT, engine.draft_limit // 2, engine.cache_tokens // 2))


def _read(file: Path) -> Points | None:
    """The kept points. What is absent, damaged, of an older shape or beyond reason is measured
    again."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))["ms"]
        points = {
            int(rows): {int(tokens): float(ms) for tokens, ms in by_tokens.items()}
            for rows, by_tokens in kept.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
            RecursionError):  # fmt: skip
        return None
    low, high = _SOUND_MS
    sound = all(
        0 < rows <= tokens <= _WIDEST and low < ms < high
        for rows, by_tokens in points.items()
        for tokens, ms in by_tokens.items()
    )
    complete = all(rows in by_tokens for rows, by_tokens in points.items())
    return points if sound and complete and 1 in points else None
