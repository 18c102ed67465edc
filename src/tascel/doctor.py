"""What this machine has, lacks and has broken, each with what to do about it."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from tascel.cache import cache_folder
from tascel.engines.known import ENGINES, Kept, Known, kept_prices

#: What an extra is for; the extras themselves are read from the installed package.
_EXTRAS = {
    "hf": "running, profiling and fine-tuning models",
    "parquet": "reading Parquet traces",
    "grammar": "schemas, regular expressions and tool calls as constraints",
    "serve": "`tascel serve`",
    "demo": "`tascel demo`",
}
_LEAST_FREE_GB = 2.0  # the demo's model, its download and a bundle
_DRAFTED = 8  # tokens of a pass by which engines are compared: one, and a short draft behind it


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. "missing" parts are needed by some verbs only; "broken" ones by all, or
    they are there and do not work."""

    part: str
    found: str
    state: Literal["ok", "missing", "broken"] = "ok"
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, one finding after the other; importing the packages takes seconds."""
    yield Finding("Python", f"{sys.version.split()[0]} on {sys.platform}")
    yield Finding("tascel", metadata.version("tascel"))
    for name, extra in _requirements():
        yield _package(name, extra)
    yield _kernels()
    if "torch" in sys.modules:
        yield from _torch()
    for engine in ENGINES.values():
        yield _engine(engine)
    yield from _measured()
    yield _cache()
    yield _pip()


def _requirements() -> list[tuple[str, str | None]]:
    """Names of the packages we need, with the first extra that asks for each; core ones first."""
    order = (None, *_EXTRAS)
    needed: list[tuple[str, str | None]] = []
    for requirement in metadata.requires("tascel") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", requirement)
        asker = extra[1] if extra else None
        if name and name[0] != "tascel" and asker in order:
            needed.append((name[0], asker))
    needed.sort(key=lambda pair: order.index(pair[1]))
    first: dict[str, str | None] = {}
    for name, asker in needed:
        first.setdefault(name, asker)
    return list(first.items())


def _package(name: str, extra: str | None) -> Finding:
    part = name if extra is None else f"{name} ({extra})"
    install = "pip install tascel" if extra is None else f"pip install 'tascel[{extra}]'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if extra is None:
            return Finding(part, "not installed", "broken", install)
        return Finding(part, "not installed", "missing", f"For {_EXTRAS[extra]}: {install}")
    try:
        importlib.import_module(_module(name))
    except Exception as error:  # a package may fail in any way while it is imported
        return Finding(
            part, f"{version}, but fails: {_short(error)}", "broken", f"{install} --force-reinstall"
        )
    return Finding(part, version)


def _module(distribution: str) -> str:
    """What to import of a package: its own name, or else the first public module it brings."""
    named = distribution.replace("-", "_")
    brought = metadata.packages_distributions().items()
    modules = sorted(module for module, of in brought if distribution in of)
    public = [module for module in modules if not module.startswith("_")]
    return named if named in modules or not public else public[0]


def _kernels() -> Finding:
    """Whether numba compiles here, and keeps what it compiled."""
    try:
        kernel: Any = importlib.import_module("tascel.draft.kernels.growing").grow
        folder: str | None = kernel.stats.cache_path
        importlib.import_module("numba").njit(_one)()
    except Exception as error:  # as above
        return Finding(
            "draft kernels", f"fail: {_short(error)}", "broken", "pip install -U numba numpy"
        )
    if folder is None or not _writable(Path(folder)):
        return Finding(
            "draft kernels",
            f"compile, but {folder or 'their cache'} cannot be written: every start compiles again",
            "missing",
            "Set NUMBA_CACHE_DIR to a folder you may write to",
        )
    return Finding("draft kernels", f"compile, kept in {folder}")


def _one() -> int:
    return 1


def _torch() -> Iterator[Finding]:
    torch: Any = importlib.import_module("torch")
    capability = torch.backends.cpu.get_cpu_capability()
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    yield Finding("processor", f"{cores} cores, {capability}, torch uses {torch.get_num_threads()}")
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB"
        yield Finding("GPU", f"{torch.cuda.device_count()} × {gpu.name}, {memory}")
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "Apple (mps)")
    else:
        yield Finding("GPU", "none, models run on the processor")
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        try:
            x = torch.ones(2, 2, dtype=dtype)
            (x @ x).sum().item()
        except RuntimeError as error:
            yield Finding(name, f"fails: {_short(error)}", "missing", "Use --dtype float32")
        else:
            yield Finding(name, "works on the processor")


def _engine(engine: Known) -> Finding:
    """Whether an engine is here, and loads; vLLM is only looked for: loading it takes long."""
    part, version = f"engine {engine.name}", engine.version()
    if version is None:
        return Finding(part, f"no {engine.title}", "missing", f"To run in it: {engine.install}")
    try:
        for package in engine.packages if engine.name != "vllm" else ():
            importlib.import_module(package)
    except Exception as error:  # a package may fail in any way while it is imported
        found = f"{engine.title} {version}, but fails: {_short(error)}"
        return Finding(part, found, "broken", engine.install)
    return Finding(part, f"{engine.title} {version}")


def _measured() -> Iterator[Finding]:
    """Of every model that was measured in several ways with what is installed, the one with the
    quickest passes."""
    here = {name for name, engine in ENGINES.items() if engine.version()}
    kept = [one for one in kept_prices() if one.engine.name in here and not one.tailored]
    if not kept:
        remedy = "`tascel profile` measures a model, `tascel advise` compares engines for a task"
        yield Finding("measured passes", "none yet", "ok", remedy)
    for weights in dict.fromkeys(one.setting.weights for one in kept):
        ways = sorted((o for o in kept if o.setting.weights == weights), key=_pass_ms)
        if len(ways) > 1:
            best = ways[0]
            remedy = f"Take {_way(best)}; `tascel advise` says it for a task"
            found = ", ".join(f"{_way(o)} {_pass_ms(o):.1f} ms" for o in ways)
            part = f"passes of {_DRAFTED} tokens, {best.setting.model}"
            yield Finding(part, found, "ok", remedy)


def _pass_ms(kept: Kept) -> float:
    return float(kept.price.curve(_DRAFTED, 0)[0])


def _way(kept: Kept) -> str:
    """How a model was run: the engine, and what else settings differ in."""
    setting = kept.setting
    _, *how = setting.runtime.split(", ")
    return f"{kept.engine.title} ({', '.join([setting.dtype, *how, f'threads {setting.threads}'])})"


def _cache() -> Finding:
    folder = cache_folder()
    if not _writable(folder):
        return Finding(
            "cache folder",
            f"{folder} cannot be written",
            "broken",
            "Set TASCEL_CACHE to a folder you may write to",
        )
    used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{folder}: {used:.1f} GB used, {free:.1f} GB free"
    if free < _LEAST_FREE_GB:
        remedy = f"Free {_LEAST_FREE_GB:.0f} GB for the demo, or set TASCEL_CACHE"
        return Finding("cache folder", found, "missing", remedy)
    return Finding("cache folder", found)


def _pip() -> Finding:
    """`tascel assets` fetches packages through the user's own pip."""
    run = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False
    )
    if run.returncode:
        remedy = f"For `tascel assets` and `tascel demo`: {sys.executable} -m ensurepip"
        return Finding("pip", "does not run", "missing", remedy)
    return Finding("pip", run.stdout.split(" from ")[0].removeprefix("pip "))


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[
        :90
    ]
