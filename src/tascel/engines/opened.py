"""A model in one runtime, ready for passes: what every way of opening one hands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tascel.decode.engine import Engine
from tascel.engines.profile import Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tascel.engines.hf.condition import Conditioner


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine and what its passes' price holds for.

    Attributes:
        model: the model itself where transformers runs it, else None.
        head: "full", "lossless" or "fast".
        conditioner: says what prompts are fed as, where the model is bridged to a larger one.
    """

    engine: Engine
    setting: Setting
    model: PreTrainedModel | None = None
    head: str = "full"
    conditioner: Conditioner | None = None
