"""Other libraries kept quiet, and what their errors say in one line."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

from tascel.errors import ModelError


@contextmanager
def quietly() -> Generator[None]:
    """No warnings, reports or loading bars from the libraries; downloads still show theirs."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    downloads = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if downloads:
        enable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def short(error: BaseException) -> str:
    """What an error of another library says, in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) < 200 else f"{words[:200]}…"


def missing_extra(what: str) -> ModelError:
    """The error for `what` needs torch and its kin, which are not installed."""
    return ModelError(what, "pip install 'tascel[hf]'")
