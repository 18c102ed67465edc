"""What would help with a task, before anything is built, trained or run?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tascel.adapt.tokens.cost import Sizes, sizes
from tascel.advise import commands
from tascel.advise.candidates import candidates, is_gguf, tokenizer_only
from tascel.advise.commands import Asked
from tascel.advise.copied import copied
from tascel.advise.engines import Learned, Tokenizers
from tascel.advise.entropy import entropy
from tascel.advise.lengths import lengths, repeated
from tascel.advise.recommend import milliseconds, pays, recommend
from tascel.advise.sample import Sample, Traces
from tascel.advise.tasks import tasks
from tascel.advise.tokens import tokens
from tascel.advise.vocabulary import vocabulary
from tascel.builder import Progress, silent
from tascel.engines.hf.load import tokenizer_of
from tascel.engines.known import ENGINES, kept_prices
from tascel.engines.openvino.folder import is_export
from tascel.errors import ModelError, RequestError
from tascel.types import Trace

#: Answers that are replayed.
LIMIT = 100


def advise(
    traces: Iterable[Trace],
    models: Sequence[str | Path],
    *,
    adapter: str | Path | None = None,
    limit: int = LIMIT,
    named: str = "TRACES",
    progress: Progress = silent,
) -> dict[str, Any]:
    """What a task's traces are like, what an answer would take in each engine that was measured
    here, and what to do. Runs no model.

    Args:
        traces: the task's past exchanges; `bench.held_out` says which of them are replayed.
        models: Hugging Face ids or folders, folders of `tascel export --to openvino`, GGUF files;
            one at least that is no GGUF, for its tokenizer. That may be all there is of it.
        adapter: a PEFT folder on top of those of Hugging Face; the others have it merged.
        limit: replay so many answers at most.
        named: how the commands to run call the traces.

    Returns:
        The stable output format, all times in milliseconds an answer: how many traces were `read`,
        `answered`, `learned` from, `replayed` and `refused`; median `prompt_tokens` and mean
        `answer_tokens` of those replayed; `lengths`, `repeated`, `entropy`, `copied`, `vocabulary`,
        `tokens` and `tasks` as the functions of these names tell; `engines` in the order of what an
        answer takes, with drafts where they pay (`drafts`), where `reading_ms` is the median
        prompt's, at the slope of the widest passes that were measured, and `alike` the same of
        answers whose groups were learned from, None where traces name no groups or there is a split
        `valid`; `foretold`, the first of them, or an estimate by a typical price where none was
        measured; `to_measure` has no price file here, `absent` is not installed or has no model to
        run, each says what to `do`; and the `recommendation`, see `recommend.recommend`.

    Raises:
        BundleError: a GGUF has the vocabulary of none of the other models.
        ModelError: a model cannot be read.
        RequestError: there is no tokenizer.
        TraceError: too few traces, or none with an answer.
    """
    distinct = dict.fromkeys(map(str, models))
    files = [model for model in distinct if is_gguf(model)]
    folders = [model for model in distinct if not is_gguf(model)]
    if not folders:
        raise RequestError(
            "there is no tokenizer to read the traces with",
            "Name the Hugging Face model that the GGUF was made from, too",
        )
    published = [model for model in folders if not is_export(model)]
    base = (published or folders)[0]
    whole = bool(files) or not tokenizer_only(base, adapter)
    asked = Asked(named, base, bool(published), adapter, whole)
    every = [one for model in (*folders, *files) for one in candidates(model, adapter)]
    cut = Traces.of(traces, limit)
    with TemporaryDirectory() as work:
        tokenizers = Tokenizers(cut.learned, cut.held, cut.alike, Path(work), adapter, progress)
        for model in folders:
            tokenizers.learn(model)
        learned, prices = tokenizers.of(base), kept_prices()
        lines = [
            drafts.replay(one, kept, progress)
            for one in every
            for drafts in [tokenizers.of(one.model)]  # refuses a GGUF of another vocabulary
            for kept in prices
            if one.ran_as(kept)
        ]
        ranked = sorted(({**line, "drafts": pays(line)} for line in lines), key=milliseconds)
        content = {
            "read": cut.read,
            "answered": cut.answered,
            "learned": len(cut.learned),
            "replayed": len(learned.known),
            **learned.sizes(),
            **_about(cut, learned, base, adapter, progress),
            "engines": ranked,
            "foretold": ranked[0] if ranked else learned.typical(progress),
        }
    measured = {(line["engine"], line["model"]) for line in lines}
    content["to_measure"] = [
        {
            "engine": one.engine,
            "model": one.model,
            "do": commands.measure(one.engine, one.model, asked),
        }
        for one in every
        if (one.engine, one.model) not in measured and ENGINES[one.engine].version()
    ]
    there = {entry["engine"] for entry in [*ranked, *content["to_measure"]]}
    content["absent"] = [
        {"engine": name, "do": commands.get(name, asked)} for name in ENGINES if name not in there
    ]
    return content | {"recommendation": recommend(content, asked)}


def _about(
    cut: Traces, learned: Learned, model: str, adapter: str | Path | None, progress: Progress
) -> dict[str, Any]:
    """What the traces are like."""
    size = _sizes(model)
    sample = Sample.of(learned.bundle.codec, cut.learned, learned.known, progress)
    held = [example.output for example in sample.held]
    found: dict[str, Any] = {"refused": sample.refused + learned.refused}
    found["lengths"] = lengths(sample.outputs)
    found["repeated"] = repeated(sample.outputs, held)
    progress("counting words", 0, 3)
    found["entropy"] = entropy(sample.questions, sample.answers, sample.outputs)
    progress("counting words", 1, 3)
    found["copied"] = copied(sample.known, sample.questions, sample.answers)
    progress("counting words", 2, 3)
    found["vocabulary"] = vocabulary(sample, size)
    progress("counting words", 3, 3)
    found["tokens"] = tokens(sample, tokenizer_of(model, adapter), size, progress)
    found["tasks"] = tasks(learned.bundle)
    return found


def _sizes(model: str) -> Sizes | None:
    """How large a model is, None where no configuration says so, or torch is not there to read it:
    all else can be told without."""
    try:
        return sizes(model)
    except ModelError:
        return None
