"""Which tasks the traces hold, as a bundle of them found or was told."""

from __future__ import annotations

from typing import Any

import numpy as np

from tascel.bundle import Bundle


def tasks(bundle: Bundle) -> list[dict[str, Any]]:
    """The tasks of a bundle, the largest first: `name` (its label, else phrases of its own), how
    many `traces` it has and the `share` of all, mean `answer_tokens`, and tokens a pass on held-out
    answers with its `own` draft and with the `pooled` one. Empty where all is one task."""
    total = max(1, sum(entry.traces for entry in bundle.manifest.tasks))
    found = [
        {
            "name": entry.name,
            "traces": entry.traces,
            "share": entry.traces / total,
            "answer_tokens": _mean(task.learned.knowledge.corpus.outputs()),
            "own": entry.own,
            "pooled": entry.pooled,
        }
        for entry, task in zip(bundle.manifest.tasks, bundle.tasks, strict=True)
    ]
    return sorted(found, key=lambda task: -task["traces"])


def _mean(outputs: list[Any]) -> float:
    return float(np.mean([len(output) for output in outputs])) if outputs else 0.0
