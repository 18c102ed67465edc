"""What drafts see of toy traces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tascel.draft.reader import Reader
from tascel.route.seen import Seen
from tascel.types import Trace


@pytest.fixture(scope="session")
def reader(tokenizer) -> Reader:
    return Reader(tokenizer.backend_tokenizer)


@pytest.fixture(scope="session")
def seen_of(tokenizer, reader) -> Callable[[list[Trace]], Seen]:
    """Traces as drafts see them."""

    def make(some: list[Trace]) -> Seen:
        prompts = [tokenizer.encode(trace.prompt_text) for trace in some]
        outputs = [tokenizer.encode(f"{trace.answer['content']}<|im_end|>") for trace in some]
        as_ids = [[np.array(ids, np.int32) for ids in part] for part in (prompts, outputs)]
        return Seen.of(*as_ids, reader)

    return make
