"""How much of answers stands in their own prompts already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from tascel.advise.entropy import words
from tascel.decode.forced import Example

#: Exchanges that are looked at: enough for a share within a percentage point or so.
_EXCHANGES = 2_000
#: Runs of so many tokens or words and more count as copied.
_TOKENS, _WORDS = (2, 4), (1, 2)

T = TypeVar("T", int, str)


def copied(
    known: Sequence[Example], questions: Sequence[str], answers: Sequence[str]
) -> dict[str, Any]:
    """The share of answers' `tokens`, closing ids left out, and of their `words`, signs left out,
    that lie in runs of so many or more which their prompt has, too.

    Words tell more: at the start of a text a tokenizer writes the same word with other tokens.
    """
    some = known[:_EXCHANGES]
    tokens = [(e.prompt.tolist(), e.output[:-1].tolist()) for e in some]
    texts = [
        (_words(question), _words(answer))
        for question, answer in zip(questions[:_EXCHANGES], answers, strict=False)
    ]
    return {
        "answers": len(some),
        "tokens": {str(n): _share(tokens, n) for n in _TOKENS},
        "words": {str(n): _share(texts, n) for n in _WORDS},
    }


def _words(text: str) -> list[str]:
    return [word.casefold() for word in words(text) if word.isalnum()]


def _share(pairs: Sequence[tuple[list[T], list[T]]], n: int) -> float:
    there = sum(_in_runs(prompt, answer, n) for prompt, answer in pairs)
    return there / max(1, sum(len(answer) for _, answer in pairs))


def _in_runs(prompt: list[T], answer: list[T], n: int) -> int:
    """How many of `answer` lie in a run of `n` that `prompt` has."""
    asked = {tuple(prompt[at : at + n]) for at in range(len(prompt) - n + 1)}
    count, end = 0, 0  # what lies before `end` is counted
    for at in range(len(answer) - n + 1):
        if tuple(answer[at : at + n]) in asked:
            count += at + n - max(at, end)
            end = at + n
    return count
