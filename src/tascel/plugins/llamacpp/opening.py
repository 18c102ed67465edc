"""A GGUF opened in llama-cpp-python, with a bundle's draft where that pays."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

from tascel.bundle import Bundle
from tascel.draft.ngram import DraftConfig
from tascel.errors import ModelError, RequestError
from tascel.plugins.llamacpp.draft import MOST, LlamaDraft
from tascel.plugins.llamacpp.header import WHOLE, form_of, read_header
from tascel.plugins.llamacpp.llama import llama_class, llama_cpp
from tascel.plugins.llamacpp.passes import price_of, setting_of
from tascel.plugins.llamacpp.vocabulary import check
from tascel.plugins.llamacpp.worth import kept_worth


def open_llama(
    gguf: str | Path,
    bundle: str | Path | Bundle,
    *,
    config: DraftConfig | None = None,
    attach: bool | None = None,
    profile: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> Any:
    """A `llama_cpp.Llama` of a GGUF, with the drafts of `bundle` where they pay: `draft_model` is
    None where they do not, and `worth` says what was expected.

    What a pass costs is measured when a file is opened for the first time with these options
    (seconds), and kept; so is what drafts are worth at that price. Answers are those of `Llama`
    without a draft, as far as llama.cpp computes a token alike in passes of any width: see
    docs/llamacpp.md.

    Args:
        gguf: the file.
        bundle: a bundle or its folder, built for this model's tokenizer.
        config: how to draft; never trees.
        attach: whether to draft. None: if it pays by what the bundle's own answers show.
        profile: hears how far measuring is.
        options: of `llama_cpp.Llama`.

    Raises:
        BundleError: the bundle is damaged or belongs to another vocabulary.
        ModelError: llama-cpp-python is not there or the file cannot be opened; `attach`, and the
            model cannot take drafts back.
        RequestError: `options` name a draft of their own, or what `Llama` does not have.
    """
    if options.get("draft_model") is not None:
        raise RequestError("draft_model is what tascel sets", "Leave it out")
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    check(opened, gguf)
    llama = open_plain(gguf, **options)
    refused = cannot_draft(llama)
    if refused and attach:
        raise ModelError(f"{gguf}: {refused}", "Leave `attach` out")
    if refused or attach is False:
        return llama
    price = price_of(llama, setting_of(gguf, llama, options), progress=profile)
    how = replace(config or DraftConfig(), trees=False)
    how = replace(how, most=min(how.most, MOST, llama.n_batch - 1))
    if not attach:
        llama.worth = kept_worth(opened, price, how)
    if attach or llama.worth.pays:
        draft = opened.draft(how)
        llama.draft_model = LlamaDraft(draft, price, llama.n_vocab(), llama.n_ctx(), how.most)
    return llama


def open_plain(gguf: str | Path, **options: Any) -> Any:
    """A `Llama` of our kind without drafts, quiet unless `verbose` is given. A warning says where
    llama.cpp's kernels for AMX are kept away from quantised weights.

    Raises:
        ModelError: as `open_llama`.
        RequestError: `Llama` has no such option; it would not say so.
    """
    known = signature(llama_cpp().Llama).parameters
    if unknown := [name for name in options if name not in known]:
        raise RequestError(
            f"llama-cpp-python's Llama has no option {', '.join(unknown)}",
            f"It has {', '.join(known)}",
        )
    deadly = _deadly(gguf)
    if deadly:
        warnings.warn(
            f"{gguf}: this llama.cpp was compiled with AMX, whose kernels for quantised weights "
            "die of an illegal instruction with some compilers: they are not used, which is "
            "slower. Compile it without AMX, see docs/llamacpp.md",
            stacklevel=2,
        )
    make = llama_class(not deadly)
    try:
        return make(str(Path(gguf).expanduser()), **{"verbose": False} | options)
    except (ValueError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{gguf}: llama.cpp cannot open it ({error})", "Check file and options"
        ) from None


def options_of(flags: Sequence[str]) -> dict[str, Any]:
    """Options of `llama_cpp.Llama` as they are typed: `n_threads=2`, `flash_attn=true`.

    Raises:
        RequestError: one is not NAME=VALUE.
    """
    chosen: dict[str, Any] = {}
    for flag in flags:
        name, equals, value = flag.partition("=")
        if not equals or not name.isidentifier():
            raise RequestError(
                f"{flag} is no option of llama-cpp-python's Llama", "Say it as n_threads=2"
            )
        try:
            chosen[name] = json.loads(value)
        except ValueError:
            chosen[name] = value
    return chosen


def _deadly(gguf: str | Path) -> bool:
    """Whether llama.cpp may die of this file: compilers drop what its kernels for AMX need (its
    pull request 26954), and nothing of a process is left to say so."""
    built: bytes = llama_cpp().llama_print_system_info()
    return b"AMX_INT8 = 1" in built and form_of(read_header(gguf)) not in WHOLE


def cannot_draft(llama: Any) -> str | None:
    """Why nothing can be drafted for this model, None if it can: refused tokens must leave no
    trace."""
    native = llama_cpp().llama_cpp
    if native.llama_model_is_recurrent(llama.model) or native.llama_model_is_hybrid(llama.model):
        return "a recurrent model cannot take drafts back"
    if native.llama_model_has_encoder(llama.model):
        return "a model with an encoder writes no drafts"
    if native.llama_model_n_swa(llama.model) and not llama.context_params.swa_full:
        return "a sliding window that forgets cannot take drafts back: open it with swa_full=True"
    return None
