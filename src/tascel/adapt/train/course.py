"""What of a training varies: what is learned with, how the model is made, how a batch is fed, and
what is written beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tascel.adapt.train.config import FinetuneConfig, Progress
from tascel.adapt.train.data import Example, collate
from tascel.adapt.train.model import learning, load_base
from tascel.codec import Codec

if TYPE_CHECKING:
    import torch

    from tascel.engines.hf.condition import Conditioner

#: In the names of PEFT's parameters that are single rows of a matrix.
_ROWS = "trainable_tokens_delta"


class Course:
    """A model is trained as it is. Other courses override what they do otherwise.

    `finetune` calls these in the order in which they stand here.
    """

    #: What the result's `training.json` and the checkpoints say of it beside the configuration.
    facts: Mapping[str, Any] = {}

    def check(self, config: FinetuneConfig) -> None:
        """Refuse early what this course cannot do.

        Raises:
            ModelError: it cannot.
        """

    def prepare(
        self, rows: Sequence[Example], codec: Codec, folder: Path, first: bool, progress: Progress
    ) -> None:
        """Make what learning from `rows` needs, in `folder`, which goes when the training ends.
        Only the `first` of several processes is called with that, and before the others."""

    def load(self, model: str | Path, config: FinetuneConfig) -> Any:
        """The model as it begins.

        Raises:
            ModelError: it cannot be loaded, or not as the configuration wants it.
        """
        return load_base(model, config)

    def learning(self, base: Any, config: FinetuneConfig, new_rows: Sequence[int]) -> Any:
        """The module that learns: its parameters that require gradients do. It is fed what
        `collate` makes, answers as a causal language model, and has a `device`."""
        return learning(base, config, new_rows)

    def collate(self, batch: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
        """One batch, as `data.collate` makes it, and what else the module is fed."""
        return collate(batch, pad_id)

    def rate(self, name: str, config: FinetuneConfig) -> float:
        """How many times faster than the others the parameter of this name learns."""
        return config.row_rate if _ROWS in name else 1.0

    def writer(self, tuned: Any) -> Any:
        """The language model in the module: PEFT's, or transformers'."""
        return tuned

    def conditioner(self, tuned: Any) -> Conditioner | None:
        """What its prompts are fed as while it is judged; None is their embeddings."""
        return None

    def write(self, tuned: Any, folder: Path, out: Path) -> None:
        """Add to a result that lies whole in `folder`, and will lie in `out`."""
