"""A smaller ordinary model: rows and entries that a task does not need are left out, and every
library reads the result like any other model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tascel.adapt.tailor import cut, settings
from tascel.adapt.tailor.closure import closed
from tascel.adapt.tailor.needs import Progress
from tascel.codec import Codec
from tascel.engines.hf.load import load_model, tokenizer_of
from tascel.engines.hf.matrices import matrices, tied
from tascel.engines.hf.quiet import quietly
from tascel.errors import ModelError
from tascel.types import Ids, Trace

FACTS = "tailored.json"
_REMEDY = "Keep the whole vocabulary, and store the selection in a bundle (--bundle) instead"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        base_model: the id or the folder's name of the model that was cut.
        tolerance: what the ids were selected with.
        rows, rows_before: of its matrices.
        merged: rows that only smaller pieces need, or any text.
        texts: traces whose prompt and answer hold only kept ids, and were found to be encoded as
            before.
    """

    base_model: str
    tolerance: float
    rows: int
    rows_before: int
    merged: int
    texts: int


def refuse(model: str | Path, adapter: str | Path | None, out: Path) -> None:
    """Refuse early what `export` would refuse late.

    Raises:
        ModelError: a tokenizer that cannot be cut, or `out` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} is not an empty folder", "Choose another, or remove it yourself")
    cut.refuse(_tokenizer(model, adapter))


def export(
    model: str | Path,
    adapter: str | Path | None,
    kept: Iterable[int],
    traces: Sequence[Trace],
    tolerance: float,
    out: Path,
    progress: Progress = lambda stage, done, total: None,
) -> Exported:
    """Write the model with the ids `kept` alone, and those that they need, to the new folder `out`:
    whole or not at all.

    Its ids are others: row `i` is the row `ids[i]` of the model, as `tailored.json` lists them.
    Each of `traces` that holds kept ids only is encoded as before, and that is looked at.

    Raises:
        ModelError: as `refuse` and `load_model`, or the result would not be right.
    """
    refuse(model, adapter, out)
    tokenizer = _tokenizer(model, adapter)
    before = Codec.from_tokenizer(tokenizer)
    lm: Any = load_model(model, adapter, device="cpu")
    wanted = {*kept, *cut.named(tokenizer), *settings.named(lm, before.vocab_size)}
    ids = closed(wanted, before.tokenizer, before.new_tokens)
    rows_before = _rows(lm, ids)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".tascel-") as work:
        fresh = Path(work) / "model"
        fresh.mkdir()
        order = cut.cut(tokenizer, ids, fresh)
        _shrink(lm, order)
        lm.config._name_or_path = ""
        with quietly():
            lm.save_pretrained(fresh)
        number = {int(old): new for new, old in enumerate(order)}
        for name in ("config.json", "generation_config.json"):
            if (fresh / name).exists():
                cut.edit(fresh / name, lambda config: settings.renumber(config, number))
        same = _same(before, Codec.from_pretrained(fresh), order, traces, progress)
        merged = len(order) - len(wanted)
        base = Path(model).resolve().name if Path(model).exists() else str(model)
        exported = Exported(base, tolerance, len(order), rows_before, merged, same)
        facts = {**asdict(exported), "ids": order.tolist()}
        (fresh / FACTS).write_text(json.dumps(facts) + "\n", encoding="utf-8")
        for file in fresh.iterdir():  # some writers leave theirs to the owner alone
            shutil.copymode(fresh / FACTS, file)
        fresh.rename(out)
    return exported


def _tokenizer(model: str | Path, adapter: str | Path | None) -> Any:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    return auto.from_pretrained(str(tokenizer_of(model, adapter)))


def _rows(model: Any, ids: Ids) -> int:
    """How many rows the matrices have; refuses those that cannot be cut."""
    embedding, head = matrices(model)
    shapes = {len(each.weight) for each in (embedding, head)}
    if len(shapes) > 1 or not all(each.weight.is_floating_point() for each in (embedding, head)):
        raise ModelError(
            f"the matrices of {type(model).__name__} differ in rows, or are quantised", _REMEDY
        )
    (rows,) = shapes
    if ids[-1] >= rows:
        raise ModelError(
            f"the tokenizer has ids beyond the model's {rows} rows",
            "Take the tokenizer that belongs to the model",
        )
    return rows


def _shrink(model: Any, order: Ids) -> None:
    """Put the rows `order` first and drop the others, which transformers drops from the end."""
    import torch

    embedding, head = matrices(model)
    weights = [head.weight] if tied(model) else [embedding.weight, head.weight]
    if getattr(head, "bias", None) is not None:
        weights.append(head.bias)
    with torch.no_grad():
        for weight in weights:
            weight[: len(order)] = weight[torch.tensor(order)]
    model.resize_token_embeddings(len(order), mean_resizing=False)


def _same(
    before: Codec, after: Codec, order: Ids, traces: Sequence[Trace], progress: Progress
) -> int:
    """How many traces hold only kept ids; each of them has to be encoded as before."""
    answered = [trace for trace in traces if trace.answer is not None]
    same = 0
    pairs = zip(before.answers(answered), after.answers(answered), strict=True)
    for at, ((trace, old), (_, new)) in enumerate(pairs, 1):
        progress("encoding them again", at, len(answered))
        prompt = before.prompt(trace.messages, trace.tools)
        if not np.isin(np.concatenate([prompt, old]), order).all():
            continue
        again = after.prompt(trace.messages, trace.tools)
        if not (np.array_equal(order[again], prompt) and np.array_equal(order[new], old)):
            raise ModelError("the cut tokenizer would encode a kept prompt otherwise", _REMEDY)
        same += 1
    return same
