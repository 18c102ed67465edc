"""The errors a user can meet. Each says what is wrong, where, and what to do about it."""

from __future__ import annotations


class TascelError(Exception):
    """Base of every error that is the input's or the machine's fault, not ours.

    Args:
        what: what is wrong and where, as one sentence without a full stop.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}. {remedy}" if remedy else what)

    def __reduce__(self) -> tuple[type[TascelError], tuple[str, str]]:
        """As it goes from one process to another."""
        return type(self), (self.what, self.remedy)


class TraceError(TascelError):
    """A file of traces or prompts cannot be read: missing, malformed, not text."""


class BundleError(TascelError):
    """A bundle cannot be opened: missing, truncated, newer, or another tokenizer's."""


class ModelError(TascelError):
    """A model cannot be loaded or cannot be used for this (no rollback, wrong adapter)."""


class RequestError(TascelError):
    """A request cannot be served: prompt longer than the context, bad sampling values."""


class AssetError(TascelError):
    """A package-carried asset cannot be fetched, verified or converted."""
