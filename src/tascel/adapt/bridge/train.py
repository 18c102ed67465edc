"""Training a bridge: from traces and two models to a folder that loads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tascel.adapt.bridge.config import BridgeConfig
from tascel.adapt.bridge.course import BridgeCourse
from tascel.adapt.train.config import Evaluation, FinetuneConfig, Progress, Trained
from tascel.adapt.train.finetune import finetune
from tascel.types import Trace


def train_bridge(
    traces: Iterable[Trace],
    small: str | Path,
    out: Path,
    bridge: BridgeConfig,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    mined: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
) -> Trained:
    """Train the small model and a projector to answer with what the large one reads in a prompt.

    The large model stays as it is. It reads all prompts once, before the training; its states lie
    beside the checkpoints until the end. The small model and the projector learn the outputs, and
    only a prompt's positions are fed what was read. `out` is an ordinary folder of the small model
    with a bridge to the large one, which `tascel.load` and every verb takes (Bergner et al. 2024,
    "Think Big, Generate Quick").

    Args:
        small: Hugging Face id or folder.
        bridge: who reads, and how.
        config: as `finetune`; no "qlora" and no `adapter_only`.

    Raises:
        ModelError: as `finetune`; the large model cannot be loaded or has no such layer.
        TraceError: nothing to learn from.
    """
    course = BridgeCourse(bridge)
    return finetune(traces, small, out, config, resume, mined, progress, on_evaluation, course)
