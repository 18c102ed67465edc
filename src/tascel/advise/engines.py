"""Which engine shall answer these requests here? From price files and replayed answers.

Nothing is measured and no model is loaded: what a pass costs is read from the files that `tascel
profile` keeps, and drafts learn from most of the traces and walk along the answers of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

from tascel.advise.report import Asked, report
from tascel.bench.examples import examples
from tascel.bench.held_out import held_out
from tascel.bench.replay import compare
from tascel.builder import Progress, build, silent
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.forced import Cost, Example, Rules
from tascel.engines.hf.load import fingerprint, tokenizer_of
from tascel.engines.known import Kept, kept_prices
from tascel.engines.openvino.folder import is_export, read_facts
from tascel.engines.weights import sampled
from tascel.errors import BundleError, ModelError, RequestError
from tascel.plugins.llamacpp.draft import SAVED
from tascel.plugins.llamacpp.vocabulary import check
from tascel.types import Trace

#: Answers that are replayed.
LIMIT = 100
#: Formats that models are published in; all others round their weights.
_UNROUNDED = ("float32", "float16", "bfloat16", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as one engine runs it.

    Attributes:
        engine: a name of `engines.known.ENGINES`.
        model: folder, id or file, as it was asked about.
        weights: the fingerprint that prices are kept for.
        form: what else a setting's runtime must name, such as "int8 weights"; "" for nothing.
    """

    engine: str
    model: str
    weights: str
    form: str = ""

    def ran_as(self, kept: Kept) -> bool:
        """Whether a price is of this."""
        setting = kept.setting
        same = kept.engine.name == self.engine and setting.weights == self.weights
        return same and not kept.tailored and self.form in setting.runtime


def advise(
    traces: Iterable[Trace],
    models: Sequence[str | Path],
    *,
    adapter: str | Path | None = None,
    limit: int = LIMIT,
    named: str = "TRACES",
    progress: Progress = silent,
) -> dict[str, Any]:
    """What an answer would take in each engine that was measured here, and what to do.

    Args:
        traces: the task's past exchanges; `bench.held_out` says which of them are replayed.
        models: Hugging Face ids or folders, folders of `tascel export --to openvino`, GGUF files;
            one at least that is no GGUF, for its tokenizer.
        adapter: a PEFT folder on top of those of Hugging Face; the others have it merged.
        limit: replay so many answers at most.
        named: how the commands to run call the traces.

    Returns:
        The stable output format, see `advise.report.report`.

    Raises:
        BundleError: a GGUF has the vocabulary of none of the other models.
        ModelError: a model cannot be read.
        RequestError: there is no tokenizer.
        TraceError: too few traces.
    """
    files = [str(model) for model in models if _is_gguf(model)]
    folders = [str(model) for model in models if not _is_gguf(model)]
    if not folders:
        raise RequestError(
            "there is no tokenizer to read the traces with",
            "Name the Hugging Face model that the GGUF was made from, too",
        )
    every = [one for model in (*folders, *files) for one in candidates(model, adapter)]
    learned, held = held_out(traces, limit)
    prices = kept_prices()
    lines: list[dict[str, Any]] = []
    unmeasured: list[tuple[str, str]] = []
    with TemporaryDirectory() as work:
        tasks = _Tasks(learned, held, Path(work), adapter, progress)
        for model in folders:
            tasks.learn(model)
        for one in every:
            task, found = tasks.of(one.model), [kept for kept in prices if one.ran_as(kept)]
            lines += [task.replay(one, kept, progress) for kept in found]
            if not found:
                unmeasured.append((one.engine, one.model))
        published = [model for model in folders if not is_export(model)]
        base = (published or folders)[0]
        numbers = {"learned": len(learned), "replayed": len(held)} | tasks.of(base).sizes()
    return report(numbers, lines, unmeasured, Asked(named, base, bool(published), adapter))


def candidates(model: str, adapter: str | Path | None = None) -> Iterator[Candidate]:
    """What can run a model, as its files are.

    Raises:
        ModelError: they cannot be read.
    """
    if _is_gguf(model):
        yield Candidate("llamacpp", model, sampled([_there(model)]))
    elif is_export(model):
        facts = read_facts(model)
        yield Candidate("openvino", model, facts.weights, f"{facts.form} weights")
    else:
        weights = fingerprint(model, adapter)
        yield Candidate("hf", model, weights)
        if adapter is None:  # vLLM runs merged models
            yield Candidate("vllm", model, weights)


def _is_gguf(model: str | Path) -> bool:
    return str(model).endswith(".gguf")


def _there(gguf: str) -> Path:
    path = Path(gguf).expanduser()
    if not path.is_file():
        raise ModelError(f"{gguf}: there is no such file", "Check the path")
    return path


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What one tokenizer makes of the traces: drafts, and the answers to lead them along."""

    bundle: Bundle
    known: Sequence[Example]

    def sizes(self) -> dict[str, Any]:
        """Median tokens of a prompt, and mean ones of an answer."""
        return {
            "prompt_tokens": round(median(len(example.prompt) for example in self.known)),
            "answer_tokens": mean(len(example.output) for example in self.known),
        }

    def replay(self, candidate: Candidate, kept: Kept, progress: Progress) -> dict[str, Any]:
        """What an answer takes by one price."""
        size = self.bundle.codec.vocab_size
        rules = Rules(kept.price, size, trees=kept.trees)
        if candidate.engine == "llamacpp":
            rules = replace(rules, saved=SAVED)
        costs = compare(self.bundle, self.known, {}, rules, progress)["tascel"]
        return _line(candidate, kept, costs, self.sizes()["prompt_tokens"])


class _Tasks:
    """The traces as each of several tokenizers reads them, learned once for each."""

    def __init__(
        self,
        learned: Sequence[Trace],
        held: Sequence[Trace],
        work: Path,
        adapter: str | Path | None,
        progress: Progress,
    ) -> None:
        self._learned, self._held, self._work = learned, held, work
        self._adapter, self._progress = adapter, progress
        self._made: dict[str, _Task] = {}
        self._of: dict[str, _Task] = {}

    def learn(self, model: str) -> None:
        """Learn for a model's tokenizer, unless another one had the same."""
        place = model if is_export(model) else tokenizer_of(model, self._adapter)
        codec = Codec.from_pretrained(place)
        if codec.fingerprint not in self._made:
            known = examples(codec, self._held)
            out = self._work / str(len(self._made))
            build(iter(self._learned), place, out, progress=self._progress)
            self._made[codec.fingerprint] = _Task(Bundle.open(out, codec), known)
        self._of[model] = self._made[codec.fingerprint]

    def of(self, model: str) -> _Task:
        """What was learned for a model, or for one whose vocabulary a GGUF has."""
        if model not in self._of:
            self._of[model] = self._like(model)
        return self._of[model]

    def _like(self, gguf: str) -> _Task:
        *others, last = self._made.values()
        for task in others:
            try:
                check(task.bundle, gguf)
            except BundleError:
                continue
            return task
        check(last.bundle, gguf)
        return last


def _line(candidate: Candidate, kept: Kept, costs: Sequence[Cost], prompt: int) -> dict[str, Any]:
    setting, price = kept.setting, kept.price
    reading, step = float(price.curve(prompt, 0)[0]), float(price.plain())
    return {
        "engine": candidate.engine,
        "model": candidate.model,
        "dtype": setting.dtype,
        "device": setting.device,
        "threads": setting.threads,
        "runtime": setting.runtime,
        "price_file": setting.file.name,
        "rounded": setting.dtype not in _UNROUNDED or "int8" in candidate.form,
        "step_ms": step,
        "reading_ms": reading,
        "plain_ms": reading + step * mean(cost.tokens for cost in costs),
        "drafted_ms": reading + mean(cost.ms for cost in costs),
        "tokens_per_pass": sum(c.tokens for c in costs) / max(1, sum(c.steps for c in costs)),
    }
