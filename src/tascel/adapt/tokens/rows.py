"""The rows of a model for new tokens: where they lie, and what they hold before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tascel.engines.hf.matrices import matrices, tied, untie, widen
from tascel.errors import ModelError
from tascel.new_tokens import NewTokens

if TYPE_CHECKING:
    import torch

#: Ways to begin: see `add`.
INITS = ("directional", "mean", "head-first")
#: What a piece weighs, against its neighbour farther from where the token is looked at.
_STEEP = 2.0


@dataclass(frozen=True, slots=True)
class Rows:
    """Where new rows lie.

    `spare` were there and unused, `added` came by making the matrices longer; `untied` parameters
    came by giving the head a weight of its own.
    """

    spare: int
    added: int
    untied: int


def add(model: Any, new_tokens: NewTokens, init: str = "directional") -> Rows:
    """Give every new token a row in the embedding and in the head, made of its base ids' rows.

    Spare rows are taken as they come; only what is missing is added. `init` is one of

    - "mean": the mean of all base ids' rows, in both matrices (TASC, Tsur et al. 2026).
    - "directional": a weighted mean. The row that is read leans towards the last base id, since
      what follows continues that; the row that is written towards the first, since it decides
      whether the run begins (after AdaptiVocab). Each id weighs twice its neighbour. A model whose
      head is its embedding gets a head of its own: so many more parameters, and memory, for all
      ids.
    - "head-first": the written row is the first base id's, the read one the mean. Where they are
      one row it is the first base id's: then a token begins with exactly that id's logit.

    A bias of the head is made like the written row.

    Args:
        model: a causal model of transformers, changed in place.

    Raises:
        ModelError: an unknown `init`, an id that the model lacks, or a model without a head.
    """
    import torch

    if init not in INITS:
        raise ModelError(f"unknown init {init}", f"Choose one of {', '.join(INITS)}")
    if not new_tokens:
        return Rows(0, 0, 0)
    embedding, _ = matrices(model)
    known = len(embedding.weight)
    if any(base >= known for run in new_tokens.runs.values() for base in run):
        raise ModelError(
            f"the new tokens stand for ids beyond the model's {known} rows",
            "Take the tokenizer that belongs to the model",
        )
    added = widen(model, 1 + max(new_tokens.runs))
    untied = untie(model) if init == "directional" else 0
    embedding, head = matrices(model)
    with torch.no_grad():
        _fill(head.weight, new_tokens, _WRITTEN[init])
        if getattr(head, "bias", None) is not None:
            _fill(head.bias, new_tokens, _WRITTEN[init])
        if not tied(model):
            _fill(embedding.weight, new_tokens, _READ[init])
    spare = sum(id_ < known for id_ in new_tokens.runs)
    return Rows(spare, added, untied)


def _fill(weight: torch.Tensor, new_tokens: NewTokens, shares: Any) -> None:
    """Set the rows of new tokens to a mixture of their base ids' rows."""
    for id_, run in new_tokens.runs.items():
        share = weight.new_tensor(shares(run)).float()
        weight[id_] = (share / share.sum()) @ weight[list(run)].float()


def _alike(run: Sequence[int]) -> list[float]:
    return [1.0 for _ in run]


def _first(run: Sequence[int]) -> list[float]:
    return [1.0, *(0.0 for _ in run[1:])]


def _falling(run: Sequence[int]) -> list[float]:
    return [_STEEP**-at for at in range(len(run))]


def _rising(run: Sequence[int]) -> list[float]:
    return _falling(run)[::-1]


_READ = {"mean": _alike, "directional": _rising, "head-first": _alike}
_WRITTEN = {"mean": _alike, "directional": _falling, "head-first": _first}
