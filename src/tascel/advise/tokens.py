"""What new tokens for the phrases of answers would save, by how many there are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tascel.adapt.tokens.choose import choose
from tascel.adapt.tokens.cost import Sizes
from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.advise.sample import Sample
from tascel.builder import Progress, silent
from tascel.errors import ModelError

#: Where a model's sizes are unknown: a row of SmolLM2-135M beside its weights, as the typical price
#: is that model's.
_ROW_COST = 576 / 134_515_008


def tokens(
    sample: Sample, tokenizer: str | Path, sizes: Sizes | None, progress: Progress = silent
) -> dict[str, Any]:
    """What `tascel mine` would say of these answers: the `curve` of held-out tokens by new rows
    (see `adapt.tokens.curve.Point`) and the `best` point of it, which takes least time; None of
    both where nothing repeats, where too little could be held out, or where the tokenizer takes no
    new tokens: `note` says which."""
    row_cost = _ROW_COST if sizes is None else sizes.width / sizes.read
    found: dict[str, Any] = {"row_cost": row_cost, "curve": [], "best": None, "note": None}
    try:
        choice = choose(
            sample.traces, sample.codec, _refusing(tokenizer).refuse, None, row_cost, None, progress
        )
    except ModelError as error:
        return found | {"note": error.what}
    if not choice.runs or not choice.curve:
        return found | {"note": choice.note or "too few answers to hold some out"}
    best = min(choice.curve, key=lambda point: point.time)
    return found | {
        "curve": [asdict(point) for point in choice.curve],
        "best": {
            "rows": best.rows,
            "fewer": choice.curve[0].tokens / best.tokens,
            "time": best.time,
        },
    }


def _refusing(folder: str | Path) -> Vocabulary:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    return Vocabulary(auto.from_pretrained(folder))
