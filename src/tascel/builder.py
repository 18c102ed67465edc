"""Learn a task: traces in, bundle out."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import numpy as np

from tascel import bundle as bundles
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.draft import trust as trusts
from tascel.draft.corpus import Corpus
from tascel.errors import ModelError, TraceError
from tascel.store.folder import write_folder
from tascel.store.manifest import Manifest, public_command
from tascel.summary import summarise
from tascel.traces.folds import folds, groups
from tascel.types import Ids, Trace

FOLDS = 5


#: Hears how far a long job is: its stage, what is done and, where known, of how much.
Progress = Callable[[str, int, int | None], None]


def silent(stage: str, done: int, total: int | None) -> None:
    """Hears nothing."""


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """How a task is learned.

    `own_outputs`: for so many traces the model's own answer replaces the reference, since drafts
    must predict the model. `text`: whether SUMMARY.md quotes frequent n-grams. `corpus_tokens`
    bounds the index (8 bytes a token): beyond it, every second trace is left out, and so on.
    `trust_traces` bounds the sample that trust is counted on.
    """

    own_outputs: int = 0
    text: bool = True
    corpus_tokens: int = 64_000_000
    trust_traces: int = 4_000
    max_tokens: int = 512
    batch: int = 16
    seed: int = 0


class Thinned:
    """Every n-th of a stream of outputs, so few that their weights stay within `cap`."""

    def __init__(self, cap: int) -> None:
        self.kept: list[tuple[int, Ids]] = []
        self._cap, self._size, self._stride = cap, 0, 1

    def add(self, serial: int, output: Ids) -> None:
        """Take or leave the stream's next output."""
        if serial % self._stride:
            return
        self.kept.append((serial, output))
        self._size += len(output) + 1
        while self._size > self._cap and len(self.kept) > 1:
            self._stride *= 2
            self.kept = [(s, o) for s, o in self.kept if s % self._stride == 0]
            self._size = sum(len(o) + 1 for _, o in self.kept)


def build(
    traces: Iterable[Trace],
    model: str | Path,
    out: str | Path,
    *,
    adapter: str | Path | None = None,
    config: BuildConfig | None = None,
    progress: Progress = silent,
) -> Bundle:
    """Learn the task of `traces` and write a bundle for `model` to the folder `out`.

    Traces of any split but "train" are left out. What `out` held is replaced at the very end.

    Args:
        traces: a stream, read once; `tascel.traces.read.read_traces` makes one of files.
        model: Hugging Face id or folder. Only its tokenizer is read, unless own outputs are wanted.
        adapter: a PEFT folder on top of it.

    Raises:
        TraceError: no usable trace.
        ModelError, BundleError: as loading and writing say.
    """
    config, out = config or BuildConfig(), Path(out)
    codec = Codec.from_pretrained(model)
    corpus_part, sample, seen = _read(traces, codec, config, progress)
    own = _own_outputs(sample, codec, model, adapter, out, config, progress)
    outputs = [own.get(serial, output) for serial, output in corpus_part.kept]
    progress("indexing", 0, None)
    corpus = Corpus.of(outputs)
    trust = _count_trust(sample, own, codec, progress)
    counts = {
        "traces": seen,
        "outputs": len(outputs),
        "distinct_outputs": len({output.tobytes() for output in outputs}),
        "own_outputs": len(own),
        "tokens": sum(map(len, outputs)),
    }
    weights = _weights(model, adapter)

    def fill(folder: Path) -> Manifest:
        summary = summarise(codec, outputs, counts, str(model), config.text)
        bundles.fill(folder, codec, corpus, trust, summary)
        return Manifest(
            model=public_command([str(model)])[0],
            weights=weights,
            tokenizer=codec.fingerprint,
            counts=counts,
            command=public_command(["tascel", *sys.argv[1:]]),
            segments=(bundles.SEGMENT,),
        )

    write_folder(out, fill)
    _journal(out).unlink(missing_ok=True)
    return Bundle.open(out)


def of_split(traces: Iterable[Trace], split: str) -> Iterator[Trace]:
    """The traces of one split; those that name no split belong to every one."""
    return (trace for trace in traces if trace.split in (None, split))


#: The traces that trust is counted on and own outputs are made for, with their serial and answer.
Sample = list[tuple[int, Trace, Ids]]


def _read(
    traces: Iterable[Trace], codec: Codec, config: BuildConfig, progress: Progress
) -> tuple[Thinned, Sample, int]:
    """One pass over the stream: outputs for the index, and a uniform sample of whole traces."""
    rng = random.Random(config.seed)
    size = max(config.trust_traces, config.own_outputs)
    thinned, sample, seen = Thinned(config.corpus_tokens), Sample(), 0
    to_encode, to_keep = tee(of_split(traces, "train"))
    for trace, output in zip(to_keep, codec.answers(to_encode), strict=True):
        thinned.add(seen, output)
        place = seen if seen < size else rng.randrange(seen + 1)
        if place < size:
            sample[place : place + 1] = [(seen, trace, output)]
        seen += 1
        progress("reading traces", seen, None)
    if not seen:
        raise TraceError(
            "none of the traces is for training",
            'Leave out `split`, or set it to "train" in the traces to learn from',
        )
    return thinned, sample, seen


def _count_trust(
    sample: Sample, own: dict[int, Ids], codec: Codec, progress: Progress
) -> trusts.Trust:
    labels = groups([trace for _, trace, _ in sample])
    outputs = [own.get(serial, output) for serial, _, output in sample]

    def prompt(i: int) -> Ids:
        return codec.prompt(sample[i][1].messages, sample[i][1].tools)

    def report(done: int) -> None:
        progress("counting trust", done, 2 * len(sample))

    return trusts.count(outputs, range(len(sample)), folds(labels, FOLDS), prompt, report)


def _own_outputs(
    sample: Sample,
    codec: Codec,
    model: str | Path,
    adapter: str | Path | None,
    out: Path,
    config: BuildConfig,
    progress: Progress,
) -> dict[int, Ids]:
    """The model's own answers by trace serial; a journal beside `out` survives interruptions."""
    if not config.own_outputs:
        return {}
    from tascel.engines.hf.batch import answers
    from tascel.engines.hf.load import load_model

    chosen = random.Random(config.seed).sample(sample, min(config.own_outputs, len(sample)))
    prompts = [codec.prompt(trace.messages, trace.tools) for _, trace, _ in chosen]
    setting = f"{_weights(model, adapter)} {config.max_tokens}".encode()
    keys = [hashlib.sha256(setting + prompt.tobytes()).hexdigest() for prompt in prompts]
    journal = _journal(out)
    known = _read_journal(journal)
    missing = [i for i, key in enumerate(keys) if key not in known]
    progress("answering", len(keys) - len(missing), len(keys))
    if missing:
        lm = load_model(model, adapter)
        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("a", encoding="utf-8") as file:
            wanted = [prompts[i] for i in missing]
            stream = answers(
                lm, wanted, codec.eos_ids, codec.end_id, config.max_tokens, config.batch
            )
            for done, (i, ids) in enumerate(stream, start=len(keys) - len(missing) + 1):
                known[keys[missing[i]]] = ids
                file.write(json.dumps({"key": keys[missing[i]], "ids": ids.tolist()}) + "\n")
                file.flush()
                progress("answering", done, len(keys))
    return {serial: known[key] for (serial, _, _), key in zip(chosen, keys, strict=True)}


def _journal(out: Path) -> Path:
    return out.with_name(f".{out.name}.answers.jsonl")


def _read_journal(path: Path) -> dict[str, Ids]:
    known: dict[str, Ids] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                known[entry["key"]] = np.asarray(entry["ids"], np.int32)
            except (ValueError, KeyError, TypeError):
                continue  # a line torn when the last run was killed
    return known


def _weights(model: str | Path, adapter: str | Path | None) -> str | None:
    """The weights' fingerprint, None where no weight files can be found without a download."""
    from tascel.engines.hf.load import fingerprint

    try:
        return fingerprint(model, adapter)
    except ModelError:
        return None
