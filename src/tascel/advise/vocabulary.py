"""Which part of a vocabulary answers are written with, and what a head of that part would save."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from tascel.adapt.tailor.needs import Needs
from tascel.adapt.tailor.select import Filters, Selector
from tascel.adapt.tokens.cost import Sizes
from tascel.advise.sample import Sample


def vocabulary(sample: Sample, sizes: Sizes | None) -> dict[str, Any]:
    """Ids of a vocabulary of `size`: how many are `written` in answers, the share of held-out
    answers' tokens that is among these (`covered`), or among these and their prompt's
    (`covered_with_prompt`).

    `rows` is what `tascel tailor` would select with its defaults, `prompt_rows` what a prompt adds
    on average, `misses` the share of tokens of answers held out from it that have no row. `head`
    has bytes and shares of the model's weights, None where no configuration tells its sizes.
    """
    codec = sample.codec
    written = np.unique(np.concatenate(sample.outputs))
    held = [(e.output, np.union1d(written, e.prompt)) for e in sample.held]
    tokens = sum(len(output) for output, _ in held)
    needs = Needs.of(sample.outputs, sample.prompts, sample.traces, codec.vocab_size)
    selection, coverage = Selector(needs, codec).select(Filters())
    return {
        "size": codec.vocab_size,
        "written": len(written),
        "covered": sum(int(np.isin(o, written).sum()) for o, _ in held) / tokens,
        "covered_with_prompt": sum(int(np.isin(o, all_).sum()) for o, all_ in held) / tokens,
        "rows": coverage.rows,
        "prompt_rows": coverage.prompt_rows,
        "misses": selection.misses,
        "head": None if sizes is None else _head(sizes, coverage.rows, coverage.prompt_rows),
    }


def _head(sizes: Sizes, rows: int, prompt_rows: float) -> dict[str, Any]:
    """Bytes of embedding and head `now` and of a head of so many rows `then`; the `share` of the
    model's weights that the difference is; what a `step` then reads, as a share of now."""
    total = sizes.bytes * (sizes.read + (sizes.matrices - 1) * sizes.rows * sizes.width)
    now = sizes.vocabulary(sizes.rows, sizes.matrices)
    then = sizes.vocabulary(round(rows + prompt_rows))
    return {
        "model": asdict(sizes),
        "total_bytes": total,
        "now_bytes": now,
        "then_bytes": then,
        "share": (now - then) / total,
        "step": sizes.step(rows + prompt_rows),
    }
