"""Colours of pages and plots, and what tells who wrote a token where colours cannot.

Hues are Okabe and Ito's, which the colour-blind tell apart, darkened for white paper where they are
too pale. Those of sources, their lines and their words are the same on the page of `tascel serve`.
"""

from __future__ import annotations

from collections.abc import Mapping

#: On white, for print and plots, too.
LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "card": "#f6f7f8", "ink": "#1b1f23", "muted": "#5b646d", "line": "#d5dade",
    "accent": "#0072b2", "other": "#a3adb6", "warm": "#b34f00",
    "model": "#5b646d", "corpus": "#009168", "context": "#c2639b", "draft": "#7d5fb2",
    "prediction": "#8a8000", "grammar": "#d55e00", "neighbours": "#2f8dc8", "slots": "#b97a00",
    "head": "#7a7f85", "neural": "#0072b2",
}  # fmt: skip
#: On a dark screen.
DARK: Mapping[str, str] = {
    "paper": "#14181b", "card": "#1d2327", "ink": "#e6eaed", "muted": "#a0abb4", "line": "#39424a",
    "accent": "#56b4e9", "other": "#6b7680", "warm": "#f0a35e",
    "model": "#a0abb4", "corpus": "#009e73", "context": "#cc79a7", "draft": "#a98ad6",
    "prediction": "#f0e442", "grammar": "#e06a10", "neighbours": "#56b4e9", "slots": "#e69f00",
    "head": "#9aa4ac", "neural": "#2f93d6",
}  # fmt: skip
#: Who wrote a token, in words.
SOURCES: Mapping[str, str] = {
    "model": "the model's own, drafted by nobody",
    "corpus": "from past answers of the task",
    "neighbours": "from the answers to similar prompts",
    "slots": "copied from the prompt",
    "context": "said before in this exchange",
    "prediction": "from the prediction that was sent",
    "grammar": "all that the grammar allowed",
    "neural": "from a small draft model",
    "head": "from a head of some rows",
    "draft": "from another draft",
}
#: The line under a token, or above it; no two sources have the same.
LINES: Mapping[str, str] = {
    "model": "border: 0",
    "corpus": "border-bottom: 2px solid", "neighbours": "border-bottom: 2px dashed",
    "slots": "border-bottom: 4px double", "context": "border-bottom: 2px dotted",
    "draft": "border-block: 2px solid", "prediction": "border-top: 2px solid",
    "grammar": "border-top: 2px dashed", "head": "border-top: 2px dotted",
    "neural": "border-block: 2px dashed",
}  # fmt: skip
