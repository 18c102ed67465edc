"""A proposer that offers chains of a wanted length, so that passes of vLLM can be measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.plugins.vllm.passes import KEY
from tascel.plugins.vllm.setting import setting_of


class Probe:
    """Offers each row as many tokens as the first id of its prompt says. The first rank notes what
    it runs in."""

    def __init__(self, vllm_config: Any) -> None:
        self._vocab: int = vllm_config.model_config.get_vocab_size()
        if vllm_config.parallel_config.rank == 0:
            file = Path(vllm_config.additional_config[KEY])
            file.write_text(json.dumps(asdict(setting_of(vllm_config))), encoding="utf-8")

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: no model drafts."""

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: NDArray[np.int32],
        token_ids_cpu: NDArray[np.int32],
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """Ids that are hardly ever right."""
        wanted: list[int] = token_ids_cpu[: len(sampled_token_ids), 0].tolist()
        return [
            [(11 * i + 7) % self._vocab for i in range(count)] if sampled else []
            for sampled, count in zip(sampled_token_ids, wanted, strict=True)
        ]
