"""How to fine-tune, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

#: Told (stage, done, total).
Progress = Callable[[str, int, int | None], None]
Method = Literal["lora", "qlora", "full"]
METHODS = ("lora", "qlora", "full")


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How to fine-tune. With `steps` training stops there, whatever `epochs` says.

    Attributes:
        method: "lora" (Hu et al. 2021) on all linear layers; "qlora" the same on a base held in
            4-bit NF4 with double quantisation (Dettmers et al. 2023); "full" trains all weights.
        rank: of the adapter; `alpha` scales it by alpha / rank.
        batch: traces a step and process.
        limit: use so many training traces at most, drawn at random.
        max_length: in tokens, prompt and answer together; longer traces are left out.
        valid: traces held out at most to judge checkpoints by; 0 trains without.
        patience: stop after so many evaluations in a row without a lower validation loss.
        evaluate_every: steps between checkpoints; each is evaluated.
        new_tokens: how many to add to the vocabulary, or "auto".
        init: how the rows of new tokens begin, see `tascel.adapt.tokens.rows`.
        row_rate: how many times faster than the adapter these rows learn: each is trained by the
            few answers that hold it.
        adapter_only: write the adapter instead of a merged model.
    """

    method: Method = "lora"
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    batch: int = 16
    epochs: float = 1.0
    steps: int | None = None
    limit: int | None = None
    max_length: int = 1024
    seed: int = 0
    valid: int = 256
    patience: int = 3
    evaluate_every: int = 100
    new_tokens: int | Literal["auto"] = 0
    init: str = "directional"
    row_rate: float = 5.0
    adapter_only: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A checkpoint on held-out traces.

    Attributes:
        loss: nats a token.
        nats: an answer; so trainings with different tokens compare.
        exact: answers written exactly, of those `tried`.
    """

    step: int
    loss: float
    nats: float
    exact: int
    tried: int

    def __str__(self) -> str:
        return (
            f"step {self.step:,}: loss {self.loss:.4f} a token, {self.nats:.2f} an answer, exact "
            f"{self.exact} of {self.tried}"
        )


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out.

    Attributes:
        too_long: traces that were left out.
        steps: taken; the weights are those of `best`, where there is validation.
        loss: nats a token over the last steps of training.
        parameters: that were trained.
        new_tokens: that were added.
        untied: parameters that the head got, which was the embedding before.
    """

    examples: int
    too_long: int
    steps: int
    seconds: float
    loss: float
    parameters: int
    new_tokens: int = 0
    untied: int = 0
    best: Evaluation | None = None
    evaluations: tuple[Evaluation, ...] = ()
