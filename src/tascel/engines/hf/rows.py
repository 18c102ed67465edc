"""What any way of keeping rows offers, and rows read one after the other, each with a transformers
cache of its own: for families whose attention cannot be ours, and for models that cannot take
rejected tokens back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel

from tascel.decode.engine import Row, Verdict
from tascel.draft.base import Proposal
from tascel.engines import selfcheck
from tascel.engines.hf.condition import Conditioned, Piece, Prompt
from tascel.engines.hf.plan import tree_places, tree_view
from tascel.engines.hf.traits import Traits
from tascel.engines.hf.verdict import Run, plain
from tascel.types import Ids


class Rows(selfcheck.Rows, Protocol):
    """One way of keeping rows and running passes over them: the engine's calls, as in `Engine`."""

    @property
    def prefixes(self) -> bool: ...  # noqa: D102
    @prefixes.setter
    def prefixes(self, kept: bool) -> None: ...

    def fits(self, size: int) -> bool: ...  # noqa: D102
    def drop(self, row: Row, count: int) -> None: ...  # noqa: D102
    def forget(self) -> None: ...  # noqa: D102


@dataclass(slots=True, eq=False)
class OwnRow:
    """One request's cache. It holds `tokens` and behind them, until `keep`, `offered`. `prompt`
    says what its prompt is fed as, if not its ids."""

    size: int
    cache: DynamicCache
    tokens: list[int] = field(default_factory=list[int])
    offered: list[int] = field(default_factory=list[int])
    prompt: Prompt | None = None


class RowByRow:
    """The engine's rows where each has a cache of its own; together of `tokens` at most. `run` runs
    the model. Where `conditioned` is set, prompts are fed as it says."""

    def __init__(
        self, model: PreTrainedModel, traits: Traits, tokens: int, run: Run | None = None
    ) -> None:
        self._model = model
        self._traits = traits
        self._run = run or plain(model)
        self._free = tokens
        self.prefixes = False
        self.conditioned: Conditioned | None = None

    def fits(self, size: int) -> bool:
        """Whether the budget has so much left."""
        return size <= self._free

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """An empty row; nothing is shared."""
        fed = None if self.conditioned is None else Prompt(prompt)
        self._free -= size
        return OwnRow(size, self._new_cache(), prompt=fed), 0

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """A pass for each row."""
        return [
            self._pass(cast(OwnRow, row), lead.tolist(), proposal)
            for row, lead, proposal in zip(rows, leads, proposals, strict=True)
        ]

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Row after row."""
        for row, path in zip(rows, paths, strict=True):
            self._keep(cast(OwnRow, row), path)

    def drop(self, row: Row, count: int) -> None:
        """Take the last `count` tokens back."""
        assert isinstance(row, OwnRow)
        if count:
            row.tokens = row.tokens[:-count]
            row.cache.crop(-count)

    def close(self, row: Row) -> None:
        """Drop the row's cache."""
        assert isinstance(row, OwnRow)
        row.cache = self._new_cache()
        self._free += row.size

    def forget(self) -> None:
        """Nothing is kept of closed rows."""

    def _keep(self, row: OwnRow, path: Sequence[int]) -> None:
        """Move the entries of `path` up to the row's tokens and crop the cache behind them."""
        base, dropped = len(row.tokens), len(row.offered) - len(path)
        row.tokens += [row.offered[node] for node in path]
        row.offered = []
        if dropped == 0:
            return
        inplace = next((i for i, node in enumerate(path) if node != i), len(path))
        with torch.inference_mode():
            if inplace < len(path):
                source = torch.tensor(path[inplace:]) + base
                target = slice(base + inplace, base + len(path))
                for layer in cast(list[Any], row.cache.layers):
                    for states in (layer.keys, layer.values):
                        states[:, :, target] = states.index_select(2, source.to(states.device))
            row.cache.crop(-dropped)

    def _new_cache(self) -> DynamicCache:
        # Without a config every layer keeps all entries, so that a crop never loses history.
        plain = not self._traits.obstacle
        return DynamicCache() if plain else DynamicCache(config=self._model.config)

    def _pass(self, row: OwnRow, lead: list[int], proposal: Proposal) -> Verdict:
        """Feed `lead` (prompt or root) and the proposal; logits after the last of `lead` on."""
        if len(row.tokens) <= self._traits.rope_switch < len(row.tokens) + len(lead):
            # The cached keys are turned for short texts: read everything again, as `generate` does.
            lead, row.cache, row.tokens = row.tokens + lead, self._new_cache(), []
        past, width = len(row.tokens), len(proposal)
        row.tokens += lead
        row.offered = proposal.tokens.tolist()
        inputs: dict[str, Any] = {self._traits.cache_name: row.cache, "use_cache": True}
        if self._traits.last_logits:
            inputs["logits_to_keep"] = width + 1
        if not proposal.is_chain:
            inputs["attention_mask"] = self._additive(tree_view(past, len(lead), proposal.parents))
            places = tree_places(past, len(lead), proposal.parents)
            inputs["position_ids"] = torch.tensor(places[None], device=self._model.device)
        ids = torch.tensor([lead + row.offered], device=self._model.device)
        with torch.inference_mode():
            if self.conditioned is None or row.prompt is None:
                inputs["input_ids"] = ids
            else:
                piece = Piece(0, past, len(lead), row.prompt)
                inputs["inputs_embeds"] = self.conditioned.inputs(ids[0], [piece])
            shown = self._run(**inputs)
            return shown.select(slice(-width - 1, None)).verdict(0)

    def _additive(self, visible: NDArray[np.bool_]) -> torch.Tensor:
        """`[1, 1, Q, K]` of 0 and the lowest number: right under sdpa and eager alike."""
        dtype, device = self._model.dtype, self._model.device
        hidden = torch.tensor(~visible[None, None], device=device)
        zeros = torch.zeros(hidden.shape, dtype=dtype, device=device)
        return zeros.masked_fill_(hidden, torch.finfo(dtype).min)
