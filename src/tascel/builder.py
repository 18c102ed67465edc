"""Learn a task: traces in, bundle out."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tascel import bundle as bundles
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.draft.reader import Reader
from tascel.engines.hf.load import tokenizer_of
from tascel.errors import ModelError, RequestError, TascelError, TraceError
from tascel.lessons import Kept, Lessons, Progress, Sampled
from tascel.store.folder import refuse_foreign, write_folder
from tascel.store.manifest import Manifest, TaskEntry, public_command
from tascel.summary import summarise
from tascel.traces.read import read_traces
from tascel.types import Ids, Trace


def silent(stage: str, done: int, total: int | None) -> None:
    """Hears nothing."""


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """How a task is learned.

    `own_outputs`: for so many traces the model's own answer replaces the reference, since drafts
    must predict the model. `text`: whether SUMMARY.md and the tasks' names quote the traces; their
    labels may be names anyway. `corpus_tokens` bounds the index (8 bytes a token): beyond it, or
    with prompts of four times as many tokens, every second trace is left out, and so on.
    `trust_traces` bounds the traces that trust is learned on, of everything and of a task. `tasks`:
    "auto" takes the traces' own `task` labels where all have one and they differ, else finds the
    tasks; "find" looks at labels for names only; "one" takes everything for one task.
    """

    own_outputs: int = 0
    text: bool = True
    corpus_tokens: int = 64_000_000
    trust_traces: int = 4_000
    max_tokens: int = 512
    batch: int = 16
    seed: int = 0
    tasks: str = "auto"

    def __post_init__(self) -> None:
        if self.tasks not in ("auto", "find", "one"):
            raise RequestError(f"tasks cannot be {self.tasks!r}", "Choose `auto`, `find` or `one`")


#: Prompts are held while a bundle is built: so many tokens of them for each of the outputs' bound.
PROMPTS = 4


#: Traces of a stream that are kept whole: whom trust is learned on, and tasks are found in.
SAMPLE = 30_000


class Thinned:
    """Every n-th of a stream of traces, so few that their outputs stay within `cap` tokens, and
    their prompts within `PROMPTS` times as many."""

    def __init__(self, cap: int) -> None:
        self.kept: list[Kept] = []
        self._cap, self._stride = cap, 1
        self._outputs = self._prompts = 0

    def add(self, trace: Kept) -> None:
        """Take or leave the stream's next trace."""
        if trace.serial % self._stride:
            return
        self.kept.append(trace)
        self._outputs += len(trace.output) + 1
        self._prompts += len(trace.prompt)
        while self._full and len(self.kept) > 1:
            self._stride *= 2
            self.kept = [kept for kept in self.kept if kept.serial % self._stride == 0]
            self._outputs = sum(len(kept.output) + 1 for kept in self.kept)
            self._prompts = sum(len(kept.prompt) for kept in self.kept)

    @property
    def _full(self) -> bool:
        return self._outputs > self._cap or self._prompts > PROMPTS * self._cap


def build(
    traces: Iterable[Trace] | str | Path,
    model: str | Path,
    out: str | Path,
    *,
    adapter: str | Path | None = None,
    config: BuildConfig | None = None,
    command: Sequence[str] = (),
    large: str | Path | None = None,
    progress: Progress = silent,
) -> Bundle:
    """Learn the task of `traces` and write a bundle for `model` to the folder `out`.

    Traces of any split but "train" are left out. What `out` held is replaced at the very end.

    Args:
        traces: a stream, read once, or the path of files that `read_traces` takes.
        model: Hugging Face id or folder. Only its tokenizer is read, unless own outputs are wanted.
        adapter: a PEFT folder on top of it.
        command: the command line to note in the manifest; paths are cut to their last part.
        large: where the large model of a bridged one is, if not where its folder says.

    Raises:
        TraceError: no usable trace.
        ModelError, BundleError: as loading and writing say.
    """
    config, out = config or BuildConfig(), Path(out).resolve()
    refuse_foreign(out)
    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    if isinstance(traces, str | Path):
        traces = read_traces(traces)
    thinned, sample, counts = _read(traces, codec, config, progress)
    own = _own_outputs(sample, codec, model, adapter, large, out, config, progress)
    kept = thinned.kept
    outputs = [own.get(trace.serial, trace.output) for trace in kept]
    prompts = [trace.prompt for trace in kept]
    reader = Reader(codec.tokenizer)
    lessons = Lessons(codec, reader, kept, outputs, sample, config.trust_traces, progress)
    learned = lessons.learn()
    found = lessons.tasks(config.tasks)
    tasks = lessons.learn_tasks(found, config.text) if found else []
    counts |= {
        "outputs": len(outputs),
        "distinct_outputs": len({output.tobytes() for output in outputs}),
        "own_outputs": len(own),
        "tokens": sum(map(len, outputs)),
        "longest": max(map(len, outputs)),
    }
    weights = _weights(model, adapter)
    entries = tuple(
        TaskEntry(
            task.name, len(task.learned.knowledge.places), *(t.per_pass() for t in task.tallies)
        )
        for task in tasks
    )

    def fill(folder: Path) -> Manifest:
        quotable = [*_distinct(prompts, outputs)] if config.text else []
        summary = summarise(codec, quotable, counts, str(model), entries)
        classifier = found.classifier if found else None
        bundles.fill(folder, codec, learned, summary, tasks, classifier)
        return Manifest(
            model=public_command([str(model)])[0],
            weights=weights,
            tokenizer=codec.fingerprint,
            vocab_size=codec.vocab_size,
            eos_ids=tuple(sorted(codec.eos_ids)),
            counts=counts,
            command=public_command(command),
            segments=(bundles.ALL, *(f"task-{at:03}" for at in range(len(tasks)))),
            tasks=entries,
        )

    write_folder(out, fill)
    _journal(out).unlink(missing_ok=True)
    return Bundle.open(out, codec)


def of_split(traces: Iterable[Trace], split: str) -> Iterator[Trace]:
    """The traces of one split; those that name no split belong to every one."""
    return (trace for trace in traces if trace.split in (None, split))


def _distinct(prompts: Sequence[Ids], outputs: Sequence[Ids]) -> Iterable[Ids]:
    """The outputs of distinct traces."""
    pairs = zip(prompts, outputs, strict=True)
    return {(prompt.tobytes(), output.tobytes()): output for prompt, output in pairs}.values()


def _read(
    traces: Iterable[Trace], codec: Codec, config: BuildConfig, progress: Progress
) -> tuple[Thinned, list[Sampled], dict[str, int]]:
    """One pass over the stream: what is learned from, and a uniform sample of whole traces.

    What the chat template refuses is left out and counted.
    """
    rng = random.Random(config.seed)
    size = max(SAMPLE, config.own_outputs)
    thinned, sample, seen = Thinned(config.corpus_tokens), list[Sampled](), 0
    refused: list[TascelError] = []
    for trace, output in codec.answers(of_split(traces, "train"), refused.append):
        try:
            prompt = codec.prompt(trace.messages, trace.tools)
        except RequestError as error:
            refused.append(error)
            continue
        kept = Kept(seen, prompt, output, trace.task or None)
        thinned.add(kept)
        place = seen if seen < size else rng.randrange(seen + 1)
        if place < size:
            sample[place : place + 1] = [Sampled(trace, kept)]
        seen += 1
        progress("reading traces", seen, None)
    if refused and not sample:
        raise TraceError(refused[0].what, refused[0].remedy)
    if not seen:
        raise TraceError(
            "none of the traces is for training",
            'Leave out `split`, or set it to "train" in the traces to learn from',
        )
    return thinned, sample, {"traces": seen, "refused": len(refused)}


def _own_outputs(
    sample: list[Sampled],
    codec: Codec,
    model: str | Path,
    adapter: str | Path | None,
    large: str | Path | None,
    out: Path,
    config: BuildConfig,
    progress: Progress,
) -> dict[int, Ids]:
    """The model's own answers by trace serial; a journal beside `out` survives interruptions."""
    if not config.own_outputs:
        return {}
    from tascel.engines.hf.load import load_model

    chosen = random.Random(config.seed).sample(sample, min(config.own_outputs, len(sample)))
    prompts = [s.kept.prompt for s in chosen]
    setting = f"{_weights(model, adapter)} {config.max_tokens}".encode()
    keys = [hashlib.sha256(setting + prompt.tobytes()).hexdigest() for prompt in prompts]
    journal = _journal(out)
    known = _read_journal(journal)
    missing = [i for i, key in enumerate(keys) if key not in known]
    progress("answering", len(keys) - len(missing), len(keys))
    if missing:
        from tascel.engines.hf.batch import answers
        from tascel.engines.hf.bridge.folder import open_bridge, read_bridge

        facts = read_bridge(model)
        lm = load_model(model, adapter, bridged=facts is not None)
        bridge = open_bridge(model, facts, lm, codec, large) if facts else None

        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("a", encoding="utf-8") as file:
            wanted = [prompts[i] for i in missing]
            stream = answers(
                lm, wanted, codec.eos_ids, codec.end_id, config.max_tokens, config.batch, bridge
            )
            for done, (i, ids) in enumerate(stream, start=len(keys) - len(missing) + 1):
                known[keys[missing[i]]] = ids
                # a line that a killed run left torn ends here, not inside this one
                file.write("\n" + json.dumps({"key": keys[missing[i]], "ids": ids.tolist()}))
                file.flush()
                progress("answering", done, len(keys))
    own = {s.kept.serial: known[key] for s, key in zip(chosen, keys, strict=True)}
    return {serial: ids for serial, ids in own.items() if len(ids)}  # prompts that had no room


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
