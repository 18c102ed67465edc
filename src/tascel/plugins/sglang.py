"""A bundle's answers as the external corpus that SGLang's n-gram drafts read.

That is a file of JSON strings, one document a line, which SGLang tokenises when it starts. It knows
nothing of trust, neighbours or slots.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tascel.bundle import Bundle
from tascel.store.file import whole_file
from tascel.types import Ids

#: Answers tokenised together.
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Corpus:
    """A file that was written. `tokens` is what SGLang counts in it; `altered` answers become other
    ids when their text is tokenised, as all do that are written with new tokens."""

    file: Path
    answers: int
    tokens: int
    altered: int


def export(bundle: Bundle, folder: Path) -> list[Corpus]:
    """Write all answers to `all.jsonl` in `folder`, and each task's own beside it.

    Each is led by what all prompts end with, so that its start is found, and closed by its end id.

    Raises:
        BundleError: the bundle's tokenizer is damaged.
        TascelError: `folder` cannot be written to.
    """
    outputs = {"all": bundle.corpus.outputs()}
    for at, task in enumerate(bundle.tasks):
        name = re.sub(r"[^\w.-]+", "-", task.name)
        outputs[f"task-{at:03}-{name}"] = task.learned.knowledge.corpus.outputs()
    return [_write(bundle, folder / f"{name}.jsonl", some) for name, some in outputs.items()]


def _write(bundle: Bundle, file: Path, outputs: Sequence[Ids]) -> Corpus:
    codec = bundle.codec
    lead: list[int] = codec.generation_prompt().tolist()
    tokens = altered = 0
    with whole_file(file) as lines:
        for start in range(0, len(outputs), _BATCH):
            ids = [lead + output.tolist() for output in outputs[start : start + _BATCH]]
            texts = codec.tokenizer.decode_batch(ids, skip_special_tokens=False)
            read = codec.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for known, text, found in zip(ids, texts, read, strict=True):
                lines.write(json.dumps(text, ensure_ascii=False) + "\n")
                tokens += len(found.ids) + 1  # and one between documents
                altered += found.ids != known
    return Corpus(file, len(outputs), max(0, tokens - 1), altered)
