"""How good a checkpoint is: its loss on held-out answers, and how many it writes exactly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tascel.adapt.train.course import Course
from tascel.adapt.train.data import Example
from tascel.adapt.train.model import answer_loss
from tascel.codec import Codec
from tascel.decode.loop import Loop
from tascel.decode.schedule import Scheduler
from tascel.draft.price import Price
from tascel.errors import RequestError
from tascel.types import Request

#: Answers written at each evaluation: enough to see it learn, and a small part of the time.
_TRIED = 32
#: An answer may be so many tokens longer than the one that is known before it is given up.
_SLACK = 8
_ROWS = 16


@dataclass(frozen=True, slots=True)
class Judge:
    """Held-out examples and what reads them. Several processes judge a share each."""

    rows: Sequence[Example]
    codec: Codec
    batch: int
    course: Course

    def __call__(self, tuned: Any, rank: int, processes: int) -> tuple[float, int, int, int]:
        """The share's nats and answer tokens, answers exactly right, and answers tried."""
        tuned.eval()
        share = self.rows[rank::processes]
        tried = self.rows[: min(_TRIED, len(self.rows))][rank::processes]
        nats, tokens = self._nats(tuned, share)
        return nats, tokens, self._exact(tuned, tried), len(tried)

    def _nats(self, tuned: Any, rows: Sequence[Example]) -> tuple[float, int]:
        import torch

        rows = sorted(rows, key=lambda row: len(row["input_ids"]))
        nats = 0.0
        with torch.inference_mode(), _autocast(tuned.device):
            for at in range(0, len(rows), self.batch):
                batch = self.course.collate(rows[at : at + self.batch], self.codec.end_id)
                moved = {name: value.to(tuned.device) for name, value in batch.items()}
                nats += answer_loss(tuned, moved, "sum").item()
        return nats, sum(row["answer"] for row in rows)

    def _exact(self, tuned: Any, rows: Sequence[Example]) -> int:
        """Greedy answers through our own loop, without drafts: how many say what is known."""
        from peft import PeftModel

        from tascel.engines.hf.engine import HfEngine

        known: dict[str, str] = {}
        with ExitStack() as stack:
            model = self.course.writer(tuned)
            if isinstance(model, PeftModel):
                # The adapter is float32. A model that learns as a whole is, too, and needs none.
                model = cast(Any, model.get_base_model())
                stack.enter_context(_autocast(tuned.device))
            conditioner = self.course.conditioner(tuned)
            engine = HfEngine(model, allow_no_drafts=True, conditioner=conditioner)
            loop = Loop(engine, None, Price.free())
            scheduler = Scheduler(loop, self.codec.stream, _ROWS)
            for at, row in enumerate(rows):
                ids, count = np.array(row["input_ids"], np.int32), row["answer"]
                request = Request(str(at), ids[:-count], max_tokens=count + _SLACK)
                known[request.id] = self.codec.decode(ids[-count:].tolist())
                with suppress(RequestError):  # a prompt longer than the model's context
                    scheduler.add(request)
            right = 0
            while scheduler.waiting or scheduler.running:
                for event in scheduler.step():
                    done = event.completion
                    right += done is not None and done.text == known[event.request.id]
        return right


def _autocast(device: Any) -> Any:
    import torch

    return torch.autocast(device.type, torch.bfloat16)
