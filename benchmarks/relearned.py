"""Our draft as if a source had never been there: learned without it, trust included.

Switched off in a draft that has learned with it, a source leaves behind trust that counts on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tascel.bench.examples import labelled
from tascel.bench.peers import VARIANTS, Settings
from tascel.builder import BuildConfig, Progress
from tascel.bundle import Bundle
from tascel.draft.features import Features
from tascel.draft.kernels.copying import Words
from tascel.draft.reader import Reader
from tascel.draft.slots import no_words
from tascel.lessons import Lessons
from tascel.records import Records
from tascel.traces.read import BadLines
from tascel.types import Ids, Trace


class Unlike(Reader):
    """No prompt is about anything: nobody is a neighbour."""

    def about(self, prompt: Ids) -> Features:
        return np.zeros(0, np.uint32)


class Wordless(Reader):
    """No prompt has words to copy."""

    def words(self, prompt: Ids) -> Words:
        return no_words()


class Blind(Unlike, Wordless):
    """Prompts are context and nothing else."""


#: Who learns without a source, and then drafts without it.
RELEARNED: Mapping[str, tuple[type[Reader], Settings]] = {
    "relearned:no-neighbours": (Unlike, VARIANTS["no-neighbours"]),
    "relearned:no-slots": (Wordless, VARIANTS["no-slots"]),
    "relearned:neither": (Blind, VARIANTS["corpus-context"]),
}


def relearned(
    bundle: Bundle, traces: Sequence[Trace], reader: type[Reader], show: Progress
) -> Bundle:
    """The bundle with what `traces`, taken for one task, teach one who reads prompts like that."""
    codec = bundle.codec
    pairs = [*labelled(codec, traces, BadLines().add)]
    records = Records.of(
        [example.prompt for _, example in pairs],
        [example.output for _, example in pairs],
        0.0,
        groups=[trace.group for trace, _ in pairs],
    )
    trusted = BuildConfig().trust_traces
    lessons = Lessons(codec, reader(codec.tokenizer), records, trusted, show)
    return replace(bundle, learned=lessons.learn(), tasks=(), classifier=None)
