"""Learn a task: traces in, bundle out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tascel.building.config import BuildConfig, Source
from tascel.building.own import journal, weights_of, with_own_outputs
from tascel.building.reading import read_records
from tascel.building.teach import in_time, teach
from tascel.building.thin import Thinned
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.engines.hf.load import tokenizer_of
from tascel.lessons import Progress
from tascel.store.folder import refuse_foreign, write_folder
from tascel.traces.read import read_traces
from tascel.types import Trace

__all__ = ["BuildConfig", "Progress", "build", "silent"]


def silent(stage: str, done: int, total: int | None) -> None:
    """Hears nothing."""


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
    thinned = Thinned(config.corpus_tokens)
    counts = read_records(traces, codec, thinned.add, progress)
    records = with_own_outputs(
        in_time(thinned.records()), codec, model, adapter, large, out, config, progress
    )
    weights, settings = weights_of(model, adapter), config.settings(thinned.level)
    source = Source(records, codec, str(model), weights, settings, counts, command)
    write_folder(out, teach(source, progress))
    journal(out).unlink(missing_ok=True)
    return Bundle.open(out, codec)
