"""The bundle's drafts inside vLLM: what its `custom_class` speculation makes and calls."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price, typical
from tascel.engines.profile import kept_price, read_price
from tascel.errors import ModelError
from tascel.plugins.vllm.drafts import Drafts
from tascel.plugins.vllm.options import Options, check_version
from tascel.plugins.vllm.repair import repair_sampling
from tascel.plugins.vllm.setting import setting_of


class Proposer:
    """Drafts for vLLM: `{"method": "custom_class", "model": "tascel.plugins.vllm.Proposer"}`.

    Every rank of a tensor-parallel engine makes one, and all of them offer the same. What requests
    teach it is forgotten when the engine ends.

    Raises:
        TascelError: this vLLM is none that it knows, or its options say nothing it understands.
        BundleError: the bundle is damaged or belongs to another tokenizer than vLLM serves.
    """

    def __init__(self, vllm_config: Any) -> None:
        check_version(import_module("vllm").__version__)
        options = Options.of(vllm_config.additional_config)
        if vllm_config.device_config.device_type == "cpu":
            repair_sampling()
        model = vllm_config.model_config
        bundle = Bundle.open(options.bundle, Codec.from_pretrained(model.tokenizer))
        most: int = vllm_config.speculative_config.num_speculative_tokens
        self._drafts = Drafts(
            bundle.draft(DraftConfig(most=most, trees=False)),
            _price(options, vllm_config),
            bundle.manifest.eos_ids,
            vocab_size=model.get_vocab_size(),
            longest=model.max_model_len,
            most=most,
        )

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: no model drafts. vLLM's CPU runner asks for it."""

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: NDArray[np.int32],
        token_ids_cpu: NDArray[np.int32],
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """What vLLM asks after each step: chains of ids, one for each list of sampled ones."""
        return self._drafts.propose(sampled_token_ids, num_tokens_no_spec, token_ids_cpu)


def _price(options: Options, vllm_config: Any) -> Price:
    """What passes cost here: the given file, the kept one, or a guess with a warning."""
    if options.price is not None:
        return read_price(Path(options.price))
    try:
        known = kept_price(setting_of(vllm_config))
    except ModelError:  # weights that lie elsewhere have no price here
        known = None
    if known is not None:
        return known
    warnings.warn(
        "what a pass costs was not measured for this model in this vLLM; drafts are sized for a "
        "small model on a CPU until `tascel profile --engine vllm` has measured it",
        stacklevel=2,
    )
    return typical()
