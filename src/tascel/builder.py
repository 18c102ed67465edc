"""Learn a task: traces in, bundle out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tascel.building.config import BuildConfig, Source
from tascel.building.gather import gather
from tascel.building.look import look
from tascel.building.own import journal, weights_of, with_own_outputs
from tascel.building.reading import read_records
from tascel.building.teach import in_time, teach
from tascel.building.thin import Thinned
from tascel.building.trusting import trusting
from tascel.building.workspace import facts_of, workspace
from tascel.bundle import Bundle, Progress, silent
from tascel.codec import Codec
from tascel.engines.hf.load import tokenizer_of
from tascel.errors import TascelError
from tascel.lessons import READ_AT_ONCE
from tascel.store.replace import refuse_foreign, write_folder
from tascel.traces.shards import cut
from tascel.types import Trace
from tascel.workers import Crew, checked

__all__ = ["BuildConfig", "Progress", "build", "silent"]


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
    workers: int | str = 1,
    skip_bad: bool = False,
    on_bad: Callable[[TascelError, int], None] | None = None,
    now: float | None = None,
) -> Bundle:
    """Learn the task of `traces` and write a bundle for `model` to the folder `out`.

    Traces of any split but "train" are left out. What `out` held is replaced at the very end. A
    build from files that was stopped goes on where it was, by what `.NAME.building` beside `out`
    holds until the bundle is written.

    Args:
        traces: a stream, read once, or the path of files that `read_traces` takes.
        model: Hugging Face id or folder. Only its tokenizer is read, unless own outputs are wanted.
        adapter: a PEFT folder on top of it.
        command: the command line to note in the manifest; paths are cut to their last part.
        large: where the large model of a bridged one is, if not where its folder says.
        workers: how many processes read the files and look at their prompts, or "ray" for those of
            a Ray cluster. The bundle does not depend on it.
        skip_bad: leave malformed records of files out instead of stopping at the first.
        on_bad: told of malformed records that were left out: one's error, and how many.
        now: what a trace counts as that names no time, in seconds since 1970; default: the time it
            is.

    Raises:
        TraceError: no usable trace.
        TascelError: the workers are killed again and again.
        ModelError, BundleError: as loading and writing say.
    """
    config, out = config or BuildConfig(), Path(out).resolve()
    refuse_foreign(out)
    workers = checked(workers)
    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    shards = cut(traces) if isinstance(traces, str | Path) else None
    facts = shards and [facts_of(shards), config.corpus_tokens, skip_bad]
    with workspace(out, facts, codec) as space:
        with Crew(workers, space.folder) as crew:
            if isinstance(traces, str | Path):
                records, level, counts = gather(
                    traces, shards or [], codec, config.corpus_tokens, crew, space, progress,
                    skip_bad, on_bad, now,
                )  # fmt: skip
            else:
                thinned = Thinned(config.corpus_tokens)
                counts = read_records(traces, codec, thinned.add, progress, now)
                records, level = thinned.records(), thinned.level
            records = with_own_outputs(
                in_time(records), codec, model, adapter, large, out, config, progress
            )
            many = workers != 1 or len(records.prompts.flat) > READ_AT_ONCE
            seen = look(records, codec, crew, space, progress) if many else None
            others = trusting(codec, crew, space, progress) if workers != 1 else None
            weights, settings = weights_of(model, adapter), config.settings(level)
            source = Source(records, codec, str(model), weights, settings, counts, command)
            write = teach(source, progress, seen, others)
        write_folder(out, write)
    journal(out).unlink(missing_ok=True)
    return Bundle.open(out, codec)
