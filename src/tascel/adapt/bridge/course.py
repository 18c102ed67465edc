"""A training of a small model that is fed what a large one read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from torch import nn

from tascel.adapt.bridge.config import BridgeConfig
from tascel.adapt.bridge.states import KeptStates, keep
from tascel.adapt.train.config import FinetuneConfig, Progress
from tascel.adapt.train.course import Course
from tascel.adapt.train.data import Example
from tascel.adapt.train.saving import public_name
from tascel.codec import Codec
from tascel.engines.hf.bridge.folder import save_bridge
from tascel.engines.hf.bridge.projector import Projector, fuse, refuse_how
from tascel.engines.hf.condition import Conditioner
from tascel.errors import ModelError
from tascel.types import Ids

_STATES = "states"


class Bridged(nn.Module):
    """A small model and the projector, which learn together.

    Args:
        writer: transformers' causal language model, or PEFT's.
    """

    def __init__(self, writer: Any, projector: Projector) -> None:
        super().__init__()
        self.writer, self.projector = writer, projector

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return cast(torch.device, self.writer.device)

    def forward(
        self, input_ids: torch.Tensor, states: torch.Tensor, covered: torch.Tensor, **inputs: Any
    ) -> Any:
        """The writer's output for ids i64[B, S], where states `[B, S, d]` are fused with the
        embeddings that `covered` bool[B, S] names."""
        embedded = embedding_of(self.writer)(input_ids)
        fused = fuse(embedded, self.projector(states), covered, self.projector.how)
        return self.writer(inputs_embeds=fused, **inputs)


class BridgeCourse(Course):
    """A small model and a projector learn on outputs; the large one has read the prompts before.

    Args:
        config: who reads, and how states and embeddings meet.
    """

    def __init__(self, config: BridgeConfig) -> None:
        self._config = config
        self._states: KeptStates | None = None
        self.facts: Mapping[str, Any] = {"bridge": {**asdict(config), **_public(config)}}

    @property
    def states(self) -> KeptStates:
        """What was read, after `prepare`."""
        assert self._states is not None
        return self._states

    def check(self, config: FinetuneConfig) -> None:
        """A bridge is a whole model.

        Raises:
            ModelError: an adapter or 4 bits are wanted, or states cannot be fused as said.
        """
        refuse_how(self._config.how)
        if config.adapter_only or config.method == "qlora":
            raise ModelError(
                "a bridge is written as a whole model, trained in full or with LoRA",
                "Leave out --adapter-only and qlora",
            )

    def prepare(
        self, rows: Sequence[Example], codec: Codec, folder: Path, first: bool, progress: Progress
    ) -> None:
        """Let the large model read all prompts.

        Raises:
            ModelError: it cannot be loaded, or the disk has no room.
        """
        prompts = [_prompt(row) for row in rows]
        if first:
            keep(folder / _STATES, prompts, codec, self._config, progress)
        self._states = KeptStates(folder / _STATES, prompts, self._config)

    def learning(self, base: Any, config: FinetuneConfig, new_rows: Sequence[int]) -> Any:
        """The small model, and a projector from the states to its embeddings."""
        embeddings: torch.Tensor = base.get_input_embeddings().weight.detach().float()
        width = embeddings.shape[1]
        hidden = self._config.hidden or 2 * width
        projector = Projector(self.states.source.width, hidden, width, self._config.how)
        projector.scale.fill_(embeddings.square().mean().sqrt())
        tuned = super().learning(base, config, new_rows)
        return Bridged(tuned, projector.to(tuned.device))

    def collate(self, batch: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
        """As `data.collate`, with `states` bf16[B, S, d] and `covered` bool[B, S]: of prompts
        only, 0 elsewhere."""
        made = super().collate(batch, pad_id)
        count, width = made["input_ids"].shape
        states = torch.zeros(count, width, self.states.source.width, dtype=torch.bfloat16)
        covered = torch.zeros(count, width, dtype=torch.bool)
        for row, example in enumerate(batch):
            prompt = _prompt(example)
            start = width - len(example["input_ids"])
            seen = self.states(prompt)
            states[row, start : start + len(prompt)] = seen.states
            covered[row, start : start + len(prompt)] = seen.covered
        return made | {"states": states, "covered": covered}

    def rate(self, name: str, config: FinetuneConfig) -> float:
        """The projector learns at a rate of its own."""
        return self._config.rate if name.startswith("projector.") else super().rate(name, config)

    def writer(self, tuned: Any) -> Any:
        """The small model."""
        return tuned.writer

    def conditioner(self, tuned: Any) -> Conditioner:
        """Feeds prompts with the kept states, through the projector as it is by now."""

        def condition(prompt: Ids, embedded: torch.Tensor) -> torch.Tensor:
            seen = self.states(prompt)
            projected = tuned.projector(seen.states.to(embedded.device))
            return fuse(embedded, projected, seen.covered.to(embedded.device), self._config.how)

        return condition

    def write(self, tuned: Any, folder: Path, out: Path) -> None:
        """Add the projector, and who reads."""
        save_bridge(folder, tuned.projector, self.states.source, out)


def embedding_of(writer: Any) -> Any:
    """A model's input embedding, PEFT's rows that learn included."""
    model = writer.get_base_model() if isinstance(writer, PeftModel) else writer
    return cast(Any, model).get_input_embeddings()


def _prompt(example: Example) -> Ids:
    return np.array(example["input_ids"][: -example["answer"]], np.int32)


def _public(config: BridgeConfig) -> dict[str, Any]:
    """Without local paths."""
    adapter = None if config.adapter is None else public_name(config.adapter)
    return {"large": public_name(config.large), "adapter": adapter}
