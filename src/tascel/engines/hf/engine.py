"""The engine for transformers models: our passes over `model.forward`, one KV cache a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel

from tascel.decode.engine import Row, Verdict
from tascel.draft.base import Proposal
from tascel.engines.hf.selfcheck import self_check
from tascel.engines.hf.traits import read_traits
from tascel.errors import ModelError
from tascel.types import Ids


@dataclass(slots=True, eq=False)
class HfRow:
    """One request's cache. It holds `tokens` and behind them, until `keep`, `offered`."""

    cache: DynamicCache
    tokens: list[int] = field(default_factory=list[int])
    offered: list[int] = field(default_factory=list[int])


class HfVerdict:
    """Logits `[W + 1, V]` of one row's pass, on the model's device."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits = logits
        self._best: list[int] = []

    def argmax(self, node: int) -> int:
        """The highest logit after `node`; computed for all nodes at once on first use."""
        if not self._best:
            best = (
                self._logits.float().numpy().argmax(-1)  # ten times torch's speed on CPUs
                if self._logits.device.type == "cpu"
                else self._logits.argmax(-1)
            )
            self._best = cast(list[int], best.tolist())  # pyright: ignore[reportUnknownMemberType]
        return self._best[node + 1]

    def logits(self, node: int) -> NDArray[np.float32]:
        """f32[V], a copy."""
        return self._logits[node + 1].to("cpu", torch.float32, copy=True).numpy()


class HfEngine:
    """Runs a transformers causal language model, any dtype, on the device it lies on.

    A model that cannot take rejected tokens back is refused, or with `allow_no_drafts` decoded
    plainly (`drafts` False). What the model's code says about itself is confirmed by a few tiny
    passes, so an unknown family costs speed and not correctness.

    Raises:
        ModelError: the model is an encoder-decoder, or cannot roll back and `allow_no_drafts` is
            False.
    """

    def __init__(self, model: PreTrainedModel, allow_no_drafts: bool = False) -> None:
        self._model = model.eval()
        self._traits = traits = read_traits(model)
        self.context_limit = traits.context_limit
        self.draft_limit = traits.rope_switch
        self.vocab_size = traits.vocab_size
        self.eos_ids = traits.eos_ids
        self.cache_tokens = 1 << 30
        self.prefixes = False
        self.drafts, self.trees, obstacle = not traits.obstacle, False, traits.obstacle
        if self.drafts:
            self.drafts, self.trees = self_check(self, traits.masks and not traits.windowed)
            obstacle = "its logits change when rejected tokens are taken back"
        if not self.drafts and not allow_no_drafts:
            raise ModelError(
                f"{traits.name} cannot check drafts: {obstacle}",
                "Ask to run it without drafts, or use a model with plain attention layers",
            )

    @property
    def device(self) -> torch.device:
        """Where the model's input goes."""
        return self._model.device

    def fits(self, size: int) -> bool:
        """Always: rows grow as they are written."""
        return True

    def open(self, prompt: Ids, size: int) -> tuple[Row, int]:
        """An empty row; nothing is shared."""
        return HfRow(self._new_cache()), 0

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """Feed each row its lead and proposal, row after row."""
        return [
            self._pass(cast(HfRow, row), lead.tolist(), proposal)
            for row, lead, proposal in zip(rows, leads, proposals, strict=True)
        ]

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Row after row."""
        for row, path in zip(rows, paths, strict=True):
            self._keep(cast(HfRow, row), path)

    def _keep(self, row: HfRow, path: Sequence[int]) -> None:
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

    def close(self, row: Row) -> None:
        """Drop the row's cache."""
        assert isinstance(row, HfRow)
        row.cache = self._new_cache()

    def forget(self) -> None:
        """Nothing is kept."""

    def _new_cache(self) -> DynamicCache:
        # Without a config every layer keeps all entries, so that a crop never loses history.
        return DynamicCache() if self.drafts else DynamicCache(config=self._model.config)

    def _pass(self, row: HfRow, lead: list[int], proposal: Proposal) -> HfVerdict:
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
            visible, positions = tree_view(past, len(lead), proposal.parents)
            inputs["attention_mask"] = self._additive(visible)
            inputs["position_ids"] = torch.tensor(positions[None], device=self.device)
        ids = torch.tensor([lead + row.offered], device=self.device)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, **inputs).logits
        return HfVerdict(logits[0, -width - 1 :])

    def _additive(self, visible: NDArray[np.bool_]) -> torch.Tensor:
        """`[1, 1, Q, K]` of 0 and the lowest number: right under sdpa and eager alike."""
        dtype = self._model.dtype
        hidden = torch.tensor(~visible[None, None], device=self.device)
        zeros = torch.zeros(hidden.shape, dtype=dtype, device=self.device)
        return zeros.masked_fill_(hidden, torch.finfo(dtype).min)


def tree_view(
    past: int, lead: int, parents: NDArray[np.int16]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """What a pass of `lead` tokens and a tree below the last of them may see.

    Returns:
        visible bool[Q, past + Q] with Q = lead + W, and positions i64[Q]: a node sees all that is
        before the tree, its ancestors and itself, and stands one behind its parent.
    """
    size = lead + len(parents)
    visible = np.zeros((size, past + size), np.bool_)
    visible[:, :past] = True
    visible[:lead, past : past + lead] = np.tri(lead, dtype=np.bool_)
    positions = np.arange(past, past + size)
    for at, parent in enumerate(parents, start=lead):
        above = lead + int(parent)  # the root is the last of `lead`
        visible[at] = visible[above]
        visible[at, past + at] = True
        positions[at] = positions[above] + 1
    return visible, positions
