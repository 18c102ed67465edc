"""From traces to a codec whose answers are written with new tokens."""

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


def extended(
    codec: Codec,
    model: str | Path,
    traces: Sequence[Trace],
    config: FinetuneConfig,
    progress: Progress = lambda stage, done, total: None,
) -> Codec:
    """The codec of the same tokenizer with the new tokens that `traces` deserve; warns if these are
    fewer than asked for, or none.

    Raises:
        ModelError: the tokenizer is of a family that new tokens cannot be added to.
        TraceError: there are no answers.
    """
    import transformers

    auto: Any = transformers
    vocabulary = Vocabulary(auto.AutoTokenizer.from_pretrained(str(model)))
    size = None if config.new_tokens == "auto" else config.new_tokens
    choice = choose(traces, codec, vocabulary.refuse, size, row_cost(model), progress=progress)
    if choice.note:
        warnings.warn(choice.note, stacklevel=2)
    if not choice.runs:
        return codec
    wider, _ = vocabulary.extend(choice.runs)
    try:
        generation: Any = auto.GenerationConfig.from_pretrained(str(model))
    except OSError:
        generation = None
    return Codec.from_tokenizer(wider, generation)
