"""Rows of one slab, read together: one forward pass for all of them, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel

from tascel.decode.engine import Row, Verdict
from tascel.draft.base import Proposal
from tascel.engines.hf.attention import PackedCache, configs_of, packed
from tascel.engines.hf.condition import Conditioned, Piece, Prompt
from tascel.engines.hf.plan import Feed, make_plan
from tascel.engines.hf.prefixes import Prefixes, Text
from tascel.engines.hf.slab import Block, Slab
from tascel.engines.hf.traits import Traits
from tascel.engines.hf.verdict import Run, plain
from tascel.types import Ids


@dataclass(slots=True, eq=False)
class PackedRow:
    """One request's place in the slab: it holds `tokens` and, until `keep`, `offered`. `prompt`
    says what its prompt is fed as, if not its ids; `tenant` is whose it is."""

    block: Block
    tenant: str | None
    tokens: list[int] = field(default_factory=list[int])
    offered: list[int] = field(default_factory=list[int])
    prompt: Prompt | None = None


class Packed:
    """The engine's rows where the model's attention can be ours.

    Rows lie in a slab of `tokens`; none may be fed beyond the size it was opened with. With
    `prefixes`, at most a quarter of that keeps what closed rows have read. `run` runs the model.
    Where `conditioned` is set, prompts are fed as it says, and nothing may be shared.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        traits: Traits,
        tokens: int,
        prefixes: bool = True,
        run: Run | None = None,
    ) -> None:
        self._model: Any = model
        self._traits = traits
        self._run = run or plain(model)
        self._configs = configs_of(model)
        self._slab = Slab(tokens)
        self._rows: set[PackedRow] = set()
        self._prefixes = Prefixes(self._slab, tokens // 4)
        self.prefixes = prefixes
        self.conditioned: Conditioned | None = None

    def fits(self, size: int) -> bool:
        """Whether a block is free, or kept only for a closed row's text."""
        return self._slab.room(size, self._prefixes.blocks)

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """A row with a copy of the longest beginning of `prompt` that another row of the tenant has
        read."""
        found = self._beginning(prompt, tenant)
        if not self._slab.room(size):
            self._prefixes.give_up(size)  # what was found goes last
            found = self._beginning(prompt, tenant)
        fed = None if self.conditioned is None else Prompt(prompt)
        with torch.inference_mode():
            row = PackedRow(self._slab.take(size), tenant, prompt=fed)
            if found is not None:
                source, count = found
                self._slab.copy(source, row.block, count)
                row.tokens = prompt[:count].tolist()
        self._rows.add(row)
        return row, len(row.tokens)

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """One forward pass; two where the model turns long texts differently and both kinds are
        there."""
        read = cast(list[PackedRow], rows)
        with torch.inference_mode():
            feeds = [
                self._feed(row, lead.tolist(), proposal)
                for row, lead, proposal in zip(read, leads, proposals, strict=True)
            ]
            verdicts: dict[int, Verdict] = {}
            for beyond in (False, True):
                chosen = [i for i, feed in enumerate(feeds) if self._beyond(feed) == beyond]
                if chosen:
                    prompts = [read[i].prompt for i in chosen]
                    found = self._pass([feeds[i] for i in chosen], prompts)
                    verdicts.update(zip(chosen, found, strict=True))
        for row, feed in zip(read, feeds, strict=True):
            row.tokens = row.tokens[: feed.past] + list(feed.lead)
            row.offered = feed.proposal.tokens.tolist()
        return [verdicts[i] for i in range(len(feeds))]

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Move the accepted entries up to their row's tokens, in all rows at once."""
        source: list[int] = []
        target: list[int] = []
        for row, path in zip(cast(list[PackedRow], rows), paths, strict=True):
            base = row.block.start + len(row.tokens)
            moved = [(node, at) for at, node in enumerate(path) if node != at]
            source += [base + node for node, _ in moved]
            target += [base + at for _, at in moved]
            row.tokens += [row.offered[node] for node in path]
            row.offered = []
        if source:
            with torch.inference_mode():
                both = torch.tensor([source, target], device=self._model.device)
                self._slab.move(both[0], both[1])

    def drop(self, row: Row, count: int) -> None:
        """Take the last `count` tokens back."""
        assert isinstance(row, PackedRow)
        row.tokens = row.tokens[: len(row.tokens) - count]

    def close(self, row: Row) -> None:
        """Free the row's block; keep its text for prompts that begin alike."""
        assert isinstance(row, PackedRow)
        self._rows.remove(row)
        if self.prefixes and not self._turned(len(row.tokens)):
            with torch.inference_mode():
                self._prefixes.retain(row.tokens, row.block, row.tenant)
        else:
            self._slab.free(row.block)

    def forget(self) -> None:
        """Drop the texts of closed rows."""
        self._prefixes.forget()

    def _beginning(self, prompt: Ids, tenant: str | None) -> tuple[Block, int] | None:
        # Beyond a rope switch keys are turned otherwise: those texts share nothing.
        if not self.prefixes or self._turned(len(prompt)):
            return None
        live = [row for row in self._rows if not self._turned(len(row.tokens))]
        texts = (Text(np.array(row.tokens, np.int32), row.block, row.tenant) for row in live)
        return self._prefixes.longest(prompt, texts, tenant)

    def _turned(self, length: int) -> bool:
        return length > self._traits.rope_switch

    def _beyond(self, feed: Feed) -> bool:
        return self._turned(feed.past + len(feed.lead))

    def _feed(self, row: PackedRow, lead: list[int], proposal: Proposal) -> Feed:
        past = len(row.tokens)
        if not self._turned(past) and self._turned(past + len(lead)):
            # The cached keys are turned for short texts: read everything again, as `generate` does.
            # If that fails, half of them are not, and nothing is left to share.
            lead, past, row.tokens = row.tokens + lead, 0, []
        assert past + len(lead) + len(proposal) <= row.block.length
        return Feed(row.block, past, lead, proposal)

    def _pass(self, feeds: list[Feed], prompts: Sequence[Prompt | None]) -> list[Verdict]:
        plan = make_plan(feeds, self._model.device)
        inputs: dict[str, Any] = {
            self._traits.cache_name: PackedCache(self._slab, plan.where),
            "use_cache": True,
        }
        if self._traits.last_logits:
            inputs["logits_to_keep"] = plan.wanted
        if self.conditioned is None:
            inputs["input_ids"] = plan.ids[None]
        else:
            pieces = [
                Piece(start, feed.past, len(feed.lead), prompt)
                for start, feed, prompt in zip(plan.starts, feeds, prompts, strict=True)
                if prompt is not None
            ]
            inputs["inputs_embeds"] = self.conditioned.inputs(plan.ids, pieces)
        with packed(self._configs, plan):
            shown = self._run(position_ids=plan.positions[None], **inputs)
        if not self._traits.last_logits:
            shown = shown.select(plan.wanted)
        return [shown.verdict(root) for root in plan.roots]
