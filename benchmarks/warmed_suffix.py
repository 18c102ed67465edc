"""The strongest peer in vLLM: arctic-inference's suffix trees, warmed with a bundle's corpus.

vLLM's own `suffix` starts empty and has no option for that. This proposer, driven through
`custom_class` as ours is, calls the same cache as vLLM does and goes on learning from what is
answered. It is told which row is which by content, since `custom_class` names no requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from tascel.bench.peers import warmed
from tascel.bundle import Bundle


@dataclass
class Row:
    """A request in the cache, and all its ids so far."""

    id: str
    ids: np.ndarray


class Proposer:
    """`additional_config["warmed_suffix"]`: bundle, max_tree_depth, max_spec_factor and
    min_token_prob."""

    def __init__(self, vllm_config: Any) -> None:
        options = vllm_config.additional_config["warmed_suffix"]
        bundle = Bundle.open(options["bundle"])
        self.depth: int = options["max_tree_depth"]
        past = bundle.corpus.outputs()
        self.cache = warmed(past, bundle.codec.generation_prompt(), self.depth)
        self.settings = {name: options[name] for name in ("max_spec_factor", "min_token_prob")}
        self.most: int = vllm_config.speculative_config.num_speculative_tokens
        self.longest: int = vllm_config.model_config.max_model_len
        self.rows: dict[int, Row] = {}
        self.serial = count()

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: no model drafts."""

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: np.ndarray,
        token_ids_cpu: np.ndarray,
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        known, self.rows = self.rows, {}
        drafts: list[list[int]] = []
        for at, new in enumerate(sampled_token_ids):
            length = int(num_tokens_no_spec[at])
            if not new or length >= self.longest:
                drafts.append([])
                continue
            ids = token_ids_cpu[at, :length]
            row = found(known, at, ids[: length - len(new)])
            if row is None:
                row = Row(f"request {next(self.serial)}", ids)
                self.cache.start_request(row.id, ids[: length - len(new)])
            row.ids = ids.copy()
            self.rows[at] = row
            self.cache.add_active_response(row.id, np.array(new, np.int32))
            draft = self.cache.speculate(
                row.id,
                ids[-self.depth :],
                max_spec_tokens=min(self.most, self.longest - length - 1),
                **self.settings,
            )
            drafts.append(list(draft.token_ids))
        for row in known.values():
            self.cache.stop_request(row.id)
        return drafts


def found(known: dict[int, Row], at: int, ids: np.ndarray) -> Row | None:
    """Take out of `known` the row that held `ids`, most likely the one `at` the same place."""
    for place in (at, *known):
        row = known.get(place)
        if row is not None and np.array_equal(row.ids, ids):
            return known.pop(place)
    return None
