"""From traces to new tokens, and from these to a codec whose answers are written with them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tascel.adapt.tokens.choose import choose
from tascel.adapt.tokens.cost import row_cost
from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.adapt.train.config import FinetuneConfig, Progress
from tascel.codec import Codec
from tascel.types import Trace


def chosen(
    codec: Codec,
    model: str | Path,
    traces: Sequence[Trace],
    config: FinetuneConfig,
    progress: Progress = lambda stage, done, total: None,
) -> list[tuple[int, ...]]:
    """The runs of base ids that deserve a token in the answers of `traces`; warns if they are fewer
    than asked for, or none.

    Raises:
        ModelError: the tokenizer is of a family that new tokens cannot be added to.
        TraceError: there are no answers.
    """
    size = None if config.new_tokens == "auto" else config.new_tokens
    refuse = _vocabulary(model).refuse
    choice = choose(traces, codec, refuse, size, row_cost(model), progress=progress)
    if choice.note:
        warnings.warn(choice.note, stacklevel=2)
    return choice.runs


def extended(codec: Codec, model: str | Path, runs: Sequence[tuple[int, ...]]) -> Codec:
    """The codec of the same tokenizer with new tokens for `runs`.

    Raises:
        ModelError: the tokenizer can have no such tokens.
    """
    if not runs:
        return codec
    wider, _ = _vocabulary(model).extend(runs)
    try:
        generation: Any = _auto().GenerationConfig.from_pretrained(str(model))
    except OSError:
        generation = None
    return Codec.from_tokenizer(wider, generation)


def _vocabulary(model: str | Path) -> Vocabulary:
    return Vocabulary(_auto().AutoTokenizer.from_pretrained(str(model)))


def _auto() -> Any:
    import transformers

    return transformers  # untyped
