"""The engine for transformers models: says what a model can do, and runs its passes, all rows at
once where the model's attention can be ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel

from tascel.decode.engine import Rough, Row, Verdict
from tascel.draft.base import Proposal
from tascel.engines.hf.condition import Conditioned, Conditioner
from tascel.engines.hf.packed import Packed
from tascel.engines.hf.rows import RowByRow, Rows
from tascel.engines.hf.slab import SHORTEST
from tascel.engines.hf.tailored import Tailored
from tascel.engines.hf.traits import read_traits
from tascel.engines.hf.verdict import Run
from tascel.engines.hf.vocabulary import Vocabulary
from tascel.engines.selfcheck import packs, self_check
from tascel.errors import ModelError
from tascel.types import Ids

#: Tokens all rows together may hold, unless told otherwise; more where one text may be longer, up
#: to the second. Memory is taken as it is written.
CACHE_TOKENS, LONGEST_TEXT = 1 << 15, 1 << 17


class HfEngine:
    """Runs a transformers causal language model, any dtype, on the device it lies on.

    A model that cannot take rejected tokens back is refused, or with `allow_no_drafts` decoded
    plainly (`drafts` False). What the model's code says about itself is confirmed by a few tiny
    passes, so an unknown family costs speed and not correctness.

    `packed` says whether a batch is one pass.

    Args:
        model: the model; it keeps its own attention outside our passes.
        allow_no_drafts: whether to take a model that cannot take tokens back.
        cache_tokens: what all rows together may hold, rounded down to a power of two, at least 64;
            default: 32,768, or as many as the longest text the model knows.
        prefixes: whether prompts that begin alike are read once.
        vocabulary: the model's, if it is tailored.
        lossless: with `vocabulary`: the whole head has the last word.
        conditioner: says what prompts are fed as. Prompts that begin alike are then read each on
            its own: what is fed may depend on all of a prompt.

    Raises:
        ModelError: the model is an encoder-decoder, or cannot roll back and `allow_no_drafts` is
            False.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        allow_no_drafts: bool = False,
        cache_tokens: int | None = None,
        prefixes: bool = True,
        vocabulary: Vocabulary | None = None,
        lossless: bool = True,
        conditioner: Conditioner | None = None,
    ) -> None:
        self._model = model.eval()
        self._vocabulary = vocabulary
        run = vocabulary.run if vocabulary is not None else None
        self._traits = traits = read_traits(model)
        self.context_limit = traits.context_limit
        self.draft_limit = traits.rope_switch
        self.vocab_size = traits.vocab_size
        self.eos_ids = traits.eos_ids
        if cache_tokens is None:
            longest = max(CACHE_TOKENS, min(traits.context_limit, LONGEST_TEXT))
            cache_tokens = 1 << (longest - 1).bit_length()
        self.cache_tokens = 1 << (max(cache_tokens, SHORTEST).bit_length() - 1)
        self.drafts, self.trees, obstacle = not traits.obstacle, False, traits.obstacle
        self.rough: Rough | None = None
        packed = self._packed(prefixes, run) if traits.own_attention else None
        self.packed = packed is not None
        inner = packed or RowByRow(model, traits, self.cache_tokens, run)
        self._rows: Rows = self._under(inner, lossless=True)
        if packed is not None:
            self.trees = True
        elif self.drafts:
            self.drafts, self.trees = self_check(self, traits.masks and not traits.windowed)
            obstacle = "its logits change when rejected tokens are taken back"
        if not self.drafts and not allow_no_drafts:
            raise ModelError(
                f"{traits.name} cannot check drafts: {obstacle}",
                "Ask to run it without drafts, or use a model with plain attention layers",
            )
        self._rows = self._under(inner, lossless)
        self._conditioned = conditioner is not None
        if conditioner is not None:
            inner.conditioned = Conditioned(model, conditioner)
            self.prefixes = False
        if isinstance(self._rows, Tailored) and lossless and self.drafts:
            self.rough = self._rows.rough

    @property
    def device(self) -> torch.device:
        """Where the model's input goes."""
        return self._model.device

    @property
    def prefixes(self) -> bool:
        """Whether prompts are kept for later requests that begin alike."""
        return self._rows.prefixes

    @prefixes.setter
    def prefixes(self, kept: bool) -> None:
        self._rows.prefixes = kept and self.packed and not self._conditioned

    def fits(self, size: int) -> bool:
        """Whether the budget has room for a row of `size` tokens."""
        return self._rows.fits(size)

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """A row of `size` tokens, and how many of `prompt` it holds already: no more than this
        tenant's other rows have read."""
        return self._rows.open(prompt, size, tenant)

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """Feed each row its lead and proposal: one pass if the model is packed."""
        return self._rows.check(rows, leads, proposals)

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Keep the leads and the proposals' nodes on `paths`; take the rest back."""
        self._rows.keep(rows, paths)

    def drop(self, row: Row, count: int) -> None:
        """Take the last `count` tokens back that were kept."""
        self._rows.drop(row, count)

    def close(self, row: Row) -> None:
        """Free the row's cache."""
        self._rows.close(row)

    def forget(self) -> None:
        """Drop what is kept of closed rows for prompts that begin alike."""
        self._rows.forget()

    def _under(self, inner: Packed | RowByRow, lossless: bool) -> Rows:
        """The rows under a tailored vocabulary, if there is one."""
        return inner if self._vocabulary is None else Tailored(inner, self._vocabulary, lossless)

    def _packed(self, prefixes: bool, run: Run | None) -> Packed | None:
        """The model's rows packed, if it then answers as it does alone."""
        packed = Packed(self._model, self._traits, self.cache_tokens, prefixes, run)
        sound = packs(self._under(packed, lossless=True), self._alone, self.vocab_size)
        packed.forget()
        return packed if sound else None

    def _alone(self, tokens: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """f32[n, V]: the model's own logits, without a cache."""
        ids = torch.tensor([list(tokens)], device=self.device)
        with torch.inference_mode():
            logits = cast(Any, self._model)(input_ids=ids, use_cache=False).logits
        return logits[0].float().cpu().numpy()
