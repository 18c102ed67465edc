"""Colours of pages and plots, and what tells who wrote a token where colours cannot.

Hues are Okabe and Ito's, which the colour-blind tell apart, as near to the terminal's as they go.
"""

from __future__ import annotations

from collections.abc import Mapping

#: On white, for print and plots, too.
LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "card": "#f6f7f8", "ink": "#1b1f23", "muted": "#5b646d", "line": "#d5dade",
    "accent": "#0072b2", "other": "#a3adb6", "warm": "#b34f00",
    "model": "#5b646d", "corpus": "#009e73", "context": "#3d9bd0", "draft": "#b45a8c",
    "prediction": "#c58a00", "grammar": "#0072b2", "neighbours": "#6d9e00", "slots": "#00a0a8",
    "head": "#7a7f85", "neural": "#d55e00",
}  # fmt: skip
#: On a dark screen.
DARK: Mapping[str, str] = {
    "paper": "#14181b", "card": "#1d2327", "ink": "#e6eaed", "muted": "#a0abb4", "line": "#39424a",
    "accent": "#56b4e9", "other": "#6b7680", "warm": "#f0a35e",
    "model": "#a0abb4", "corpus": "#2ec99c", "context": "#6fbff0", "draft": "#e08fbd",
    "prediction": "#f0c54a", "grammar": "#6aa9e0", "neighbours": "#b3d94a", "slots": "#3fd6dc",
    "head": "#9aa4ac", "neural": "#ff8b3d",
}  # fmt: skip
#: Who wrote a token, in words.
SOURCES: Mapping[str, str] = {
    "model": "the model's own", "corpus": "from the task's past answers",
    "neighbours": "from similar prompts", "slots": "copied from the prompt",
    "context": "said before", "draft": "drafted", "prediction": "foretold by the caller",
    "grammar": "forced by the grammar", "head": "guessed by a smaller head",
    "neural": "from a draft model",
}  # fmt: skip
#: The line under a token, or above it; no two sources have the same.
LINES: Mapping[str, str] = {
    "model": "border: 0",
    "corpus": "border-bottom: 2px solid", "neighbours": "border-bottom: 4px double",
    "slots": "border-bottom: 2px dashed", "context": "border-bottom: 2px dotted",
    "draft": "border-block: 2px solid", "prediction": "border-top: 2px solid",
    "grammar": "border-top: 2px dashed", "head": "border-top: 2px dotted",
    "neural": "border-block: 2px dashed",
}  # fmt: skip
