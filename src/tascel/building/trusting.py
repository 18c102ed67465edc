"""How far to trust what tasks teach, learned by any number of workers, a task each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tascel.building.look import Looking, put, reader_of
from tascel.building.workspace import Workspace
from tascel.bundle import Progress
from tascel.codec import Codec
from tascel.draft.trust import Trust
from tascel.lessons import Trusting, trust_of
from tascel.records import Records
from tascel.route.seen import Seen
from tascel.workers import Crew, Tick


def trusting(codec: Codec, crew: Crew, workspace: Workspace, progress: Progress) -> Trusting:
    """Learns the trust of many samples at once."""
    return partial(_learn, codec, crew, workspace, progress)


def _learn(
    codec: Codec, crew: Crew, workspace: Workspace, progress: Progress, samples: Sequence[Records]
) -> list[Trust]:
    jobs = {
        f"trust-{at}-{file.stem}": Looking(file, workspace.tokenizer, codec.vocab_size)
        for at, file in enumerate(put(some, workspace.folder) for some in samples)
    }
    places = crew.run("trusting tasks", jobs, learn_trust, progress)
    return [np.load(place) for place in places.values()]


def learn_trust(job: Looking, out: Path, tick: Tick) -> None:
    """Write the trust of a job's records."""
    records = Records.read(job.records, job.vocab_size)
    codec = Codec.from_pretrained(job.tokenizer)
    seen = Seen.of(records.prompts, records.outputs, reader_of(job.tokenizer)).read()
    before = 0

    def heard(done: int, total: int) -> None:
        nonlocal before
        tick(done - before)
        before = done

    trust = trust_of(records, seen, codec, heard)
    with out.open("wb") as file:  # by name numpy would give it an ending
        np.save(file, trust)
