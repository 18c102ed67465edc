"""transformers' stopping criteria as what ends an answer of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from tascel.decode.stop import Detokenizer, Stopper


class CriteriaStopper(Stopper):
    """Ends an answer where the criteria do, or after `limit` tokens.

    They are asked after every token, so also inside a block of accepted ones. As `HfProcessors` do,
    they see `rows` copies of this row: `ids` i64[n], its prompt with padding, and what is written.
    """

    def __init__(
        self,
        criteria: Sequence[StoppingCriteria],
        ids: torch.Tensor,
        row: int,
        rows: int,
        limit: int,
        detokenizer: Detokenizer,
    ) -> None:
        super().__init__((), (), limit, detokenizer)
        self._criteria = StoppingCriteriaList(criteria)
        self._row, self._rows = row, rows
        self._ids = torch.cat([ids, ids.new_zeros(limit)])
        self._length = len(ids)

    def push(self, token: int) -> str:
        """Take the next token; return the text that is now certain. Raises what they raise."""
        text = super().push(token)
        self._ids[self._length] = token
        self._length += 1
        ids: Any = self._ids[: self._length].repeat(self._rows, 1)
        if self._criteria(ids, None)[self._row]:
            text += "" if self.reason else self._end("stop")
            self.reason = "stop"
        return text
