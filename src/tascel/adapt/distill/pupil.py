"""A neural draft in training: the first layers of a model, under its own head, with an adapter."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from tascel.adapt.distill.config import DistillConfig
from tascel.adapt.train.config import FinetuneConfig
from tascel.adapt.train.data import Example, SimilarLengths, collate
from tascel.adapt.train.model import answer_loss, bf16_flow, learning, quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Share of the steps in which the rate rises; it falls in a cosine over the others.
_WARM_UP = 0.05
#: The loss reported is the mean of so many last steps.
_LAST = 20


class Pupil:
    """Learns to write what its teacher writes: cross-entropy on answers, by an adapter (LoRA, Hu et
    al. 2021) on the linear weights of the teacher's first `layers`. Embedding, norm and head stay
    the teacher's own, and so does everything in the teacher itself.
    """

    def __init__(
        self, teacher: PreTrainedModel, layers: int, pad_id: int, config: DistillConfig
    ) -> None:
        import torch

        from tascel.engines.hf.layers import keep_layers

        torch.manual_seed(config.seed)
        self._config, self._pad_id = config, pad_id
        lora = FinetuneConfig(rank=config.rank, alpha=2 * config.rank)
        with quiet():
            self._tuned: Any = learning(keep_layers(teacher, range(layers)), lora)

    def learn(
        self,
        rows: Sequence[Example],
        steps: int,
        rate: float,
        progress: Callable[[int], None] = lambda step: None,
    ) -> float:
        """Take `steps` steps over `rows`; the loss of the last ones, in nats a token."""
        import torch

        tuned = self._tuned.train()
        learned = [*self._learned().values()]
        optimizer = torch.optim.AdamW(learned, rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: _share(at, steps))
        losses: list[float] = []
        with bf16_flow(tuned):
            for step, some in zip(range(steps), self._batches(rows), strict=False):
                batch = collate(some, self._pad_id)
                moved = {name: value.to(tuned.device) for name, value in batch.items()}
                # Anew each step: autocast keeps what it has cast until it ends.
                with torch.autocast(tuned.device.type, torch.bfloat16):
                    loss = answer_loss(tuned, moved)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(learned, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                losses.append(loss.item())
                progress(step + 1)
        return fmean(losses[-_LAST:])

    def state(self) -> dict[str, torch.Tensor]:
        """What it has learned so far, copied."""
        return {name: weight.detach().clone() for name, weight in self._learned().items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Begin again where `state` was taken."""
        import torch

        with torch.no_grad():
            for name, weight in self._learned().items():
                weight.copy_(state[name])

    def save(self, folder: Path) -> None:
        """Write its adapter as PEFT does, in bfloat16, naming no place."""
        import torch
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        from tascel.neural import ADAPTER

        folder.mkdir(parents=True)
        weights = cast(Mapping[str, torch.Tensor], get_peft_model_state_dict(self._tuned))
        halved = {name: w.detach().to(torch.bfloat16).contiguous() for name, w in weights.items()}
        config = self._tuned.peft_config["default"]
        config.base_model_name_or_path = ""
        config.inference_mode = True
        config.save_pretrained(folder)
        save_file(halved, folder / ADAPTER[1])

    def _learned(self) -> dict[str, torch.nn.Parameter]:
        named = cast(Iterator[tuple[str, Any]], self._tuned.named_parameters())
        return {name: weight for name, weight in named if weight.requires_grad}

    def _batches(self, rows: Sequence[Example]) -> Iterator[list[Example]]:
        """Batches without end, each epoch in its own order."""
        size = min(self._config.batch, len(rows))
        order, epoch = SimilarLengths(rows, size, self._config.seed), 0
        while True:
            order.set_epoch(epoch)
            at = [*order]
            for begin in range(0, len(at) - size + 1, size):
                yield [rows[i] for i in at[begin : begin + size]]
            epoch += 1


def _share(at: int, steps: int) -> float:
    """The share of the highest rate at a step."""
    warm = max(1, round(_WARM_UP * steps))
    if at < warm:
        return (at + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (at - warm) / max(1, steps - warm)))
